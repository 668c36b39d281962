"""The table of how well maps find boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import student, write_run

from launch.report.build import build_report
from launch.report.content import Options


def explained(run: Path, pointing: float, **changes: Any) -> None:
    """Write what ``cxr explain`` writes."""
    scores = {"images": 40, "pointing": pointing, "iou": 0.2, "chance": 0.1}
    maps = {"mean": scores, "labels": {"Edema": scores, "Mass": scores}}
    document = {
        "run_id": run.name,
        "best_epoch": 1,
        "boxes": {"file": "boxes.csv", "sha256": "ab", "side": 1024},
        "split": "test",
        "threshold": 0.5,
        "methods": {"attention": maps, "grad_cam": {**maps, "mean": {**scores, "pointing": pointing / 2}}},
        **changes,
    }
    (run / "explanations.json").write_text(json.dumps(document))


def written(tmp_path: Path, seed: int = 0, **config: Any) -> Path:
    scores = {"Edema": 0.8, "Mass": 0.9}
    return write_run(tmp_path / "runs", student(seed=seed, **config), scores, result={"best_epoch": 1})


def rows_of(tmp_path: Path) -> list[list[str]]:
    build_report(tmp_path / "runs", tmp_path / "out", Options(resamples=0))
    text = (tmp_path / "out" / "tables.md").read_text()
    if "Explanations: maps and boxes" not in text:
        return []
    part = text[text.index("Explanations: maps and boxes") :].split("\n\n")[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()]


def test_a_row_for_each_cell_and_kind_of_map(tmp_path: Path) -> None:
    for seed, pointing in ((0, 0.6), (1, 0.8)):
        explained(written(tmp_path, seed), pointing)
    explained(written(tmp_path, teacher="imagenet"), 0.4, best_epoch=0)  # of weights that the run did not end with
    head, _, attention, grad_cam = rows_of(tmp_path)
    assert head[-5:] == ["Map", "Pointing", "By chance", "IoU", "Images"]
    assert attention[-5:-1] == ["attention map", "70.0 ± 19.6 (n=2)", "10.0 ± 0.0 (n=2)", "20.0 ± 0.0 (n=2)"]
    assert attention[-1].startswith("40")
    assert grad_cam[-5:-3] == ["Grad-CAM", "35.0 ± 9.8 (n=2)"]
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "at least 0.5 of the map's maximum" in text and "boxes: boxes.csv, split test, labels Edema, Mass" in text


def test_scores_at_other_thresholds_stand_apart(tmp_path: Path) -> None:
    explained(written(tmp_path, 0), 0.6)
    explained(written(tmp_path, 1), 0.8, threshold=0.3)
    assert len(rows_of(tmp_path)) == 4
    text = (tmp_path / "out" / "tables.md").read_text()
    assert text.count("Explanations: maps and boxes") == 2 and "at least 0.3 of" in text


def test_without_scores_there_is_no_table(tmp_path: Path) -> None:
    written(tmp_path)
    assert rows_of(tmp_path) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"methods": 3}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (written(tmp_path) / "explanations.json").write_text(text)
    assert rows_of(tmp_path) == []
    assert "explanations.json" in (tmp_path / "out" / "index.html").read_text()
