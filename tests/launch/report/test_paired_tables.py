"""Which cells are paired, and what is written of a pair."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import LABELS, pretraining, repetitions, student, write_predictions, write_run

from launch.report.build import read_data
from launch.report.content import ReportData
from launch.report.options import Options
from launch.report.statistics.bootstrap import Bootstrap
from launch.report.statistics.pairs import MEAN, compare_pairs
from launch.report.tables.paired_tables import COLUMNS, paired, paired_csv, paired_means


def compare(directory: Path, out: Path, resamples: int = 50) -> ReportData:
    data = read_data(directory, out, Options(resamples=resamples))
    assert not data.waiting
    return data


def write_pair(directory: Path, count: int = 2, **fields: Any) -> None:
    for config in (
        *repetitions(student(**fields), count),
        *repetitions(student(teacher="mimic_cxr", **fields), count),
    ):
        write_run(directory, config, 0.7)


def test_pairs_differ_in_the_objective_alone(tmp_path: Path) -> None:
    write_pair(tmp_path)
    write_pair(tmp_path, network="densenet40")
    write_run(tmp_path, student(teacher="imagenet"), 0.7)
    write_run(tmp_path, student(teacher="mimic_cxr", epochs=9), 0.7)
    write_run(tmp_path, student(subset="300"), None)
    write_run(tmp_path, student(subset="300", teacher="mimic_cxr"), 0.7)
    write_run(tmp_path, student(subset="400"), 0.7)
    write_run(tmp_path, student(subset="400", teacher="mimic_cxr"), None)
    write_run(tmp_path, pretraining(), 0.7)
    pairs = compare(tmp_path, tmp_path / "report", resamples=0).pairs
    assert {pair.text.partition(" (")[0] for pair in pairs} == {
        "DenseNet-121, Attention transfer, ImageNet teacher",
        "DenseNet-121, Attention transfer, MIMIC-CXR teacher",
        "DenseNet-40, Attention transfer, MIMIC-CXR teacher",
    }
    assert len(pairs) == 3
    assert all(pair.base.config.schedule == pair.other.config.schedule for pair in pairs)
    assert all(pair.base.label.method == "transfer_learning" for pair in pairs)


def test_the_table_and_the_csv_say_the_same(tmp_path: Path) -> None:
    write_pair(tmp_path / "runs")
    data = compare(tmp_path / "runs", tmp_path / "kept")
    assert data.collection.passed_over == ()
    (table,) = paired(data)
    rows = list(csv.DictReader(io.StringIO(paired_csv(data.compared))))
    assert tuple(rows[0]) == COLUMNS
    assert [row["label"] for row in rows] == [*LABELS, MEAN]
    assert [row[0].text for row in table.rows] == [*LABELS, MEAN]
    assert {(row["num_patients"], row["num_images"], row["resamples"], row["seed"]) for row in rows} == {
        ("20", "40", "50", "0")
    }
    for row, (_, positive, value) in zip(rows, table.rows, strict=True):
        assert value.sort == pytest.approx(float(row["difference"]), abs=1e-4)
        assert value.lines[0].rstrip(" *") == f"{float(row['difference']):+.2f}"
        assert value.lines[1] == f"[{float(row['low']):+.2f}, {float(row['high']):+.2f}]"
        clear = float(row["low"]) > 0 or float(row["high"]) < 0
        assert value.lines[0].endswith("*") == clear
        if row["label"] != MEAN:
            assert value.lines[0].endswith(" **") == (clear and float(row["p_holm"]) <= 0.05)
            assert float(row["p"]) <= float(row["p_holm"]) <= 1
            assert value.lines[2:] == (
                f"p {float(row['p']):.3f}, Holm {float(row['p_holm']):.3f}",
                f"DeLong {float(row['p_delong']):.3f}",
            )
        assert positive.text.replace(",", "") == row["num_positive"]
        assert float(row["difference"]) == pytest.approx(float(row["auroc"]) - float(row["base_auroc"]), abs=2e-4)
    assert "20 test patients" in table.notes[0]
    assert [link.text for link in table.rows[-1][2].links] == ["TL s0", "TL s1", "s0", "s1"]
    (means,) = paired_means(data)
    assert means.rows[0][7].lines == table.rows[-1][2].lines
    last = rows[-1]
    spread = [f"{float(last[name]):.2f}" for name in ("sd_patients", "sd_seeds")]
    mixed = f"[{float(last['mixed_low']):+.2f}, {float(last['mixed_high']):+.2f}]"
    assert [value.text for value in means.rows[0][8:]] == [f"{float(last['p']):.3f}", *spread, mixed]
    assert (last["p_holm"], last["p_delong"]) == ("", "")


def test_one_repetition_tells_nothing_of_seeds(tmp_path: Path) -> None:
    write_pair(tmp_path / "runs", count=1)
    data = compare(tmp_path / "runs", tmp_path / "kept")
    (means,) = paired_means(data)
    assert [value.text for value in means.rows[0][10:]] == ["-", "-"]
    assert float(means.rows[0][9].text) > 0


def test_without_time_one_pair_is_begun_each_time_and_the_rest_is_said_to_wait(tmp_path: Path) -> None:
    for network in ("densenet121", "densenet40"):
        write_pair(tmp_path / "runs", network=network)
    pairs = compare(tmp_path / "runs", tmp_path / "report", resamples=0).pairs
    bootstrap = Bootstrap(50, 0, tmp_path / "kept", seconds=0.0)
    first, second = compare_pairs(pairs, bootstrap), compare_pairs(pairs, bootstrap)
    assert (len(first.compared), len(second.compared)) == (1, 2)
    assert first.notes[0].startswith("paired bootstrap: 1 of 2 pairs wait")
    assert second.notes == ()
    at_once = compare_pairs(pairs, Bootstrap(50, 0, tmp_path / "anew"))
    assert paired_csv(at_once.compared) == paired_csv(second.compared)
    assert paired_csv(first.compared) == paired_csv(at_once.compared[:1])


def test_equal_predictions_give_exactly_nothing(tmp_path: Path) -> None:
    write_pair(tmp_path / "runs", count=1)
    first, second = sorted((tmp_path / "runs").iterdir())
    (second / "predictions.parquet").write_bytes((first / "predictions.parquet").read_bytes())
    (table,) = paired(compare(tmp_path / "runs", tmp_path / "kept"))
    nothing = ("+0.00", "[+0.00, +0.00]")
    assert {row[2].lines for row in table.rows[:-1]} == {(*nothing, "p 1.000, Holm 1.000", "DeLong 1.000")}
    assert table.rows[-1][2].lines == nothing


def test_predictions_that_cannot_be_used_are_named_and_the_rest_is_compared(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_pair(runs, count=3)
    folders = sorted(path for path in runs.iterdir() if "_at-" in path.name)
    (folders[0] / "predictions.parquet").write_bytes(b"PAR1")
    write_predictions(folders[1], LABELS, num_images=38)
    data = compare(runs, tmp_path / "kept")
    compared, passed_over = data.compared, [str(item) for item in data.collection.passed_over]
    assert [run.config.seed for run in compared[0].other_runs] == [2]
    assert len(compared[0].base_runs) == 3
    assert len(passed_over) == 2
    assert folders[0].name in passed_over[0]
    assert "not a parquet file that can be read" in passed_over[0]
    assert folders[1].name in passed_over[1]
    assert "not the test images of" in passed_over[1]
    (folders[2] / "predictions.parquet").unlink()
    data = compare(runs, tmp_path / "kept")
    assert data.compared == ()
    assert "no such file" in str(data.collection.passed_over[1])


@pytest.mark.parametrize("damage", ["missing column", "twice", "not finite", "empty"])
def test_damaged_predictions_are_one_line(tmp_path: Path, damage: str) -> None:
    import pandas as pd

    from datasets.errors import InputError
    from harness.evaluation.predictions_file import read_predictions

    folder = write_run(tmp_path, student(), 0.7)
    frame = pd.read_parquet(folder / "predictions.parquet")
    if damage == "missing column":
        frame = frame.drop(columns="logit:Edema")
    elif damage == "twice":
        frame = pd.concat([frame, frame.iloc[:1]])
    elif damage == "not finite":
        frame.loc[3, "logit:Edema"] = float("nan")
    else:
        frame = frame.iloc[:0]
    frame.to_parquet(folder / "predictions.parquet", index=False)
    with pytest.raises(InputError, match=r"^predictions\.parquet: [^\n]+$"):
        read_predictions(folder / "predictions.parquet")


def test_a_pair_is_named_with_what_tells_it_apart(tmp_path: Path) -> None:
    write_pair(tmp_path, count=1)
    write_run(tmp_path, student(teacher="mimic_cxr", beta=2.0), 0.7)
    texts = [pair.text for pair in compare(tmp_path, tmp_path / "report", resamples=0).pairs]
    assert sorted(text.partition(" (")[2] for text in texts) == ["objective.beta=1)", "objective.beta=2)"]


@pytest.mark.timeout(60)
def test_predictions_that_are_a_fifo_are_passed_over(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_pair(runs)
    predictions = next(path for path in runs.iterdir() if "_at-" in path.name) / "predictions.parquet"
    predictions.unlink()
    os.mkfifo(predictions)
    data = compare(runs, tmp_path / "kept")
    assert [len(item.other_runs) for item in data.compared] == [1]
    assert "not a regular file" in str(data.collection.passed_over[0])
