"""What a grid can show: the reckoned power is that of simulated studies, and of the betons' own counts."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process_cli import run_cli, run_json
from PIL import Image

from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.files import write_json
from datasets.sources.records import Records
from launch.grids.registry import load_grid
from launch.plan.power import (
    Assumptions,
    SplitCounts,
    auroc_variance,
    cell_power,
    count_test_split,
    smallest_difference,
)
from launch.ranges import refuse_out_of_range
from launch.report.statistics.sources import delong_p, mixed_interval, placements

GRID = """
[defaults]
data = { dataset = "chexpert", image_size = 32 }
network.name = "densenet40"
init.kind = "none"
schedule.epochs = 1

[[runs]]
name = "tl_{size}"
seeds = 3
data.subset = ["16", "32"]
"""


def write_beton(folder: Path) -> None:
    """chexpert.beton: 40 patients of two images each, all of the test split; every fourth image is positive."""
    names = [f"{number:02d}.png" for number in range(80)]
    for number, name in enumerate(names):
        Image.fromarray(np.full((32, 32), number, dtype=np.uint8)).save(folder / name)
    frame = pd.DataFrame({"path": names, "name": names, "study": names})
    frame["patient"] = [str(number // 2) for number in range(80)]
    frame = frame.assign(view="frontal", official_split="", sex="F", age=pd.array([50] * 80, dtype="Int16"))
    targets = np.stack([np.arange(80) % 4 == 0, np.arange(80) < 0, np.arange(80) % 8 == 0], axis=1).astype(np.uint8)
    targets[79, 0] = 255
    records = Records(
        dataset="chexpert",
        root=folder,
        labels=("Edema", "Fracture", "Pneumonia"),
        frame=frame,
        targets=targets,
        tables=(),
        rejects=pd.DataFrame(columns=["path", "reason", "table", "row"]),
        dropped={},
    )
    options = ConvertOptions(size=32, workers=1)
    convert(records, np.full(80, "test"), np.full(80, -1), folder / "chexpert.beton", options)


@pytest.mark.parametrize(("sd_patients", "sd_seeds"), [(0.5, 0.0), (0.5, 0.3), (0.2, 0.6)])
def test_the_smallest_difference_is_shown_by_8_of_10_simulated_studies(sd_patients: float, sd_seeds: float) -> None:
    generator, repetitions = np.random.default_rng(0), 3
    truth = smallest_difference(sd_patients, sd_seeds, repetitions)
    shown = []
    for _ in range(4000):
        base, other = generator.normal(0, sd_seeds, (2, repetitions))
        found = mixed_interval(base, other + truth + generator.normal(0, sd_patients), sd_patients)
        shown.append(found.low > 0)
    assert np.mean(shown) == pytest.approx(0.8, abs=0.04)


def test_reckoned_from_counts_alone_it_is_what_delongs_test_shows_on_simulated_images() -> None:
    """40 positives, 160 negatives, normal scores of two methods that correlate by 0.83 within the classes."""
    generator, targets = np.random.default_rng(0), np.array([1] * 40 + [0] * 160)
    sd = math.sqrt(2 * (1 - Assumptions().correlation) * auroc_variance(0.8, 40, 160))
    truth = smallest_difference(sd, 0.0, 3)
    from scipy.special import ndtri

    apart = math.sqrt(2) * ndtri(np.array([0.8 - truth / 2, 0.8 + truth / 2]))
    p_values = []
    for _ in range(600):
        noise = math.sqrt(0.83) * generator.normal(size=200) + math.sqrt(0.17) * generator.normal(size=(2, 200))
        scores = noise + apart[:, None] * targets
        p_values.append(delong_p(*(placements(row, targets)[None] for row in scores), targets))
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.8, abs=0.06)


def test_without_skill_the_variance_is_that_of_mann_and_whitneys_statistic() -> None:
    assert auroc_variance(0.5, 51, 58) == pytest.approx((51 + 58 + 1) / (12 * 51 * 58))


def test_more_patients_and_repetitions_show_less_and_labels_less_than_their_mean() -> None:
    (run, *_), assumed = load_grid("demo").runs, Assumptions()

    def shown(patients: int, repetitions: int, seeds: float = 0.3) -> tuple[float, float]:
        counts = dict.fromkeys("abcd", patients // 10)
        split = SplitCounts(
            images=patients, patients=patients, positives=counts, negatives=dict.fromkeys("abcd", patients)
        )
        cell = cell_power("cell", [run] * repetitions, split, assumed, (seeds, 0))
        return cell.mean, cell.labels["a"]

    assert shown(4000, 3)[0] < shown(1000, 3)[0]
    assert shown(1000, 5)[0] < shown(1000, 3)[0]
    assert shown(1000, 3, seeds=0.1)[0] < shown(1000, 3)[0]
    assert shown(1000, 3)[1] > shown(1000, 3)[0]


def test_the_test_split_is_counted(tmp_path: Path) -> None:
    write_beton(tmp_path)
    split = count_test_split(tmp_path / "chexpert.beton")
    assert (split.images, split.patients) == (80, 40)
    assert split.positives == {"Edema": 20, "Pneumonia": 10}
    assert split.negatives == {"Edema": 59, "Pneumonia": 70}


def test_power_and_plan_as_they_are_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.toml").write_text(GRID)
    folders = ("--data-dir", str(tmp_path), "--runs-dir", str(tmp_path / "runs"))
    study = str(tmp_path / "study.toml")
    assert run_cli("power", study, *folders) == 2
    assert capsys.readouterr().err.endswith(
        f"study.toml: {tmp_path} holds no chexpert.beton; convert the data first\n"
    )
    assert run_cli("grid", "plan", study, *folders) == 0
    assert "betons of chexpert" in capsys.readouterr().out

    write_beton(tmp_path)
    capsys.readouterr()  # what the conversion said
    runs = load_grid(study).runs
    for run, score in zip(runs, (0.70, 0.72, 0.71), strict=False):  # of the first cell
        folder = tmp_path / "runs" / run.run_id
        write_json(folder / "result.json", {"test": {"mean_auroc": score}})
    document = run_json(capsys, "power", study, *folders)
    first, second = document["cells"]
    assert (first["name"], first["repetitions"], first["patients"], first["images"]) == ("tl_16", 3, 40, 80)
    assert first["sd_seeds"] == pytest.approx(1.0)
    assert (first["sd_seeds_from_runs"], second["sd_seeds"], second["sd_seeds_from_runs"]) == (3, 0.3, 0)
    assert list(first["labels"]) == ["Edema", "Pneumonia"]
    assert first["smallest_difference"] > second["smallest_difference"]
    planned = run_json(capsys, "grid", "plan", study, *folders)
    assert planned["shows"]["cells"] == document["cells"]
    assert list(planned)[:3] == ["grid", "cost", "runs"]

    given = run_json(capsys, "power", study, *folders, "--sd-seeds", "2")
    assert {cell["sd_seeds"] for cell in given["cells"]} == {2.0}
    assert run_cli("power", study, *folders) == 0
    text = capsys.readouterr().out
    assert f"{first['smallest_difference']:.2f}" in text
    assert "1.00 measured" in text and "0.30 assumed" in text
    assert "AUROC 0.8; estimates of two methods correlate by 0.8" in text
    assert run_cli("grid", "plan", study, *folders) == 0
    assert f"{first['smallest_difference']:.2f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value"), [("sd_seeds", -1.0), ("auroc", 1.0), ("correlation", 1.0), ("label_correlation", -0.1)]
)
def test_values_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(Exception, match=rf"^--{option.replace('_', '-')} {value:g}: expected "):
        refuse_out_of_range(dataclasses.replace(Assumptions(), **{option: value}))


def test_a_damaged_beton_leaves_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.toml").write_text(GRID)
    (tmp_path / "chexpert.beton").write_bytes(b"not a beton")
    assert run_cli("grid", "plan", str(tmp_path / "study.toml"), "--data-dir", str(tmp_path), "--json") == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["runs"]) == 6
    assert "smallest differences are not known: " in captured.err
