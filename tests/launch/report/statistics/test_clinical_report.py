"""Scores, groups and calibration in the report: averaged over repetitions, kept, and paired between methods."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_fixtures import student, write_run
from sklearn.metrics import roc_auc_score

from harness.evaluation.calibration import Calibration
from harness.runs.folder import RunFolder
from launch.report.build import build_report
from launch.report.options import Options
from launch.report.statistics import clinical

LABELS = ("Edema", "Effusion")
NUM = 400


def write_scored(directory: Path, *, teacher: str | None, seed: int, gap: float) -> RunFolder:
    """A run on 200 patients; findings of women are ``gap`` harder to see."""
    path = write_run(directory, student(teacher=teacher, seed=seed), {"Edema": 0.8, "Effusion": 0.7})
    women = np.arange(NUM) // 2 % 2 == 0
    targets = np.random.default_rng(0).random((NUM, 2)) < 0.5
    noise = np.random.default_rng([seed, teacher is None]).normal(size=(NUM, 2))
    logits = (noise + targets * (2.0 - gap * women[:, None]) - 1.0).astype(np.float32)
    columns = {
        "index": np.arange(NUM),
        "path": np.arange(NUM).astype(str),
        "patient": (np.arange(NUM) // 2).astype(str),
    }
    columns |= {"sex": np.where(women, "F", "M"), "site": np.where(np.arange(NUM) < 16, "small", "large")}
    columns |= {f"target:{label}": targets[:, i].astype(np.uint8) for i, label in enumerate(LABELS)}
    columns |= {f"logit:{label}": logits[:, i] for i, label in enumerate(LABELS)}
    pd.DataFrame(columns).to_parquet(path / "predictions.parquet", index=False)
    fit = Calibration.fit(logits, targets.astype(np.uint8), LABELS, content_hash="c", weights_hash="w")
    (path / "calibration.json").write_text(json.dumps(fit.to_dict()))
    return RunFolder(path)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in (0, 1):
        write_scored(tmp_path / "runs", teacher=None, seed=seed, gap=0.0)
        write_scored(tmp_path / "runs", teacher="imagenet", seed=seed, gap=1.2)
    return tmp_path / "runs"


def test_the_report_tells_scores_groups_and_changed_gaps(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    built = build_report(runs, out, Options(resamples=200))
    text = (out / "tables.md").read_text(encoding="utf-8")
    for title in ("Scores with intervals over patients", "By sex", "Gaps between groups beside transfer learning"):
        assert title in text
    assert (out / "reliability.png") in built.paths
    assert "too small" in text  # the site of 16 images
    rows = list(csv.DictReader(io.StringIO((out / "scores.csv").read_text())))
    wanted = {"method": "transfer_learning", "label": "Edema", "score": "auroc"}
    (mean,) = (row for row in rows if {name: row[name] for name in wanted} == wanted)
    expected = []
    for path in sorted(runs.glob("*_tl_*")):
        frame = pd.read_parquet(path / "predictions.parquet")
        expected.append(roc_auc_score(frame["target:Edema"], frame["logit:Edema"]))
    assert len(expected) == 2 and mean["num_runs"] == "2"
    assert float(mean["value"]) == pytest.approx(np.mean(expected), abs=1e-6)
    assert float(mean["low"]) < float(mean["value"]) < float(mean["high"])
    (pair,) = built.data.pairs
    base, other = (built.data.clinical.cells[cell.config.hash] for cell in pair)
    changes = {(change.attribute, change.score): change for change in clinical.gap_changes(base, other)}
    assert set(changes) == {("sex", score) for score in ("auroc", "sensitivity", "specificity")}
    found = changes["sex", "auroc"]
    women = -1 if found.highest == "F" else 1
    assert women * (found.other - found.base) > 0.1 and found.low * found.high > 0  # the planted one


def test_a_second_report_computes_nothing_again(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_report(runs, tmp_path / "out", Options(resamples=50))
    pages = [(tmp_path / "out" / name).read_bytes() for name in ("tables.md", "scores.csv")]
    monkeypatch.setattr(clinical, "score_predictions", None)
    again = build_report(runs, tmp_path / "out", Options(resamples=50))
    assert [(tmp_path / "out" / name).read_bytes() for name in ("tables.md", "scores.csv")] == pages
    assert first.data.clinical.cells.keys() == again.data.clinical.cells.keys()


def test_what_there_is_no_time_for_waits_for_the_next_report(runs: Path, tmp_path: Path) -> None:
    options = Options(resamples=20, bootstrap_seconds=0.0)
    notes = [build_report(runs, tmp_path / "out", options).data.clinical.notes for _ in range(5)]
    assert notes[0] == (f"scores by label and group: 3 runs wait; {clinical.GO_ON}",)
    assert notes[-1] == ()


def test_a_run_whose_calibration_is_damaged_is_named(runs: Path, tmp_path: Path) -> None:
    damaged = sorted(runs.glob("*_tl_*"))[0]
    (damaged / "calibration.json").write_text('{"labels": {}}')
    built = build_report(runs, tmp_path / "out", Options(resamples=20))
    (item,) = built.data.collection.passed_over
    assert item.path == damaged
    assert item.reason.endswith("Field required; 'cxr evaluate RUN --write' makes it anew; it is not scored")
    assert len(built.data.clinical.cells) == 2 and not built.data.waiting


def test_without_resamples_or_predictions_there_are_no_scores(runs: Path, tmp_path: Path) -> None:
    build_report(runs, tmp_path / "out", Options(resamples=20))
    assert (tmp_path / "out" / "scores.csv").exists()
    for path in runs.glob("*/predictions.parquet"):
        path.write_bytes(b"damaged")
    for options in (Options(resamples=20), Options(resamples=0)):
        built = build_report(runs, tmp_path / "out", options)
        assert built.data.clinical.cells == {} and not (tmp_path / "out" / "scores.csv").exists()


def test_a_changed_gap_does_not_depend_on_which_method_is_the_base() -> None:
    """Groups chosen under the base alone would make chance in its gap look like a gap that the other narrows."""

    def scores_of(*points: float) -> clinical.RunScores:
        drawn = np.random.default_rng(0).normal(points, 0.01, (50, 3)).astype(np.float32)
        group = clinical.GroupMeans(
            attribute="site",
            names=("A", "B", "C"),
            counts=(50,) * 3,
            positives=(25,) * 3,
            num_labels=1,
            point=np.repeat(np.array(points)[:, None], 3, axis=1),
            drawn=np.repeat(drawn[..., None], 3, axis=2),
        )
        empty = np.zeros((2, 15, 3))
        return clinical.RunScores(
            labels=("E",), num_patients=9, point=empty[0], drawn=empty, reliability=empty, groups=(group,)
        )

    first, second = scores_of(0.9, 0.7, 0.6), scores_of(0.7, 0.95, 0.65)
    there, here = clinical.gap_changes(first, second)[0], clinical.gap_changes(second, first)[0]
    assert (there.highest, there.lowest) == (here.highest, here.lowest) == ("B", "C")
    assert (there.base, there.other) == (here.other, here.base) == pytest.approx((0.1, 0.3))
    assert (there.low, there.high) == pytest.approx((-here.high, -here.low), abs=1e-6)
