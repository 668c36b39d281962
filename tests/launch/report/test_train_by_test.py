"""The table of scores on other datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import student, write_run

from launch.report.build import build_report
from launch.report.content import Options


def scored(run: Path, dataset: str, auroc: dict[str, float | None], **other: Any) -> None:
    """Write what ``cxr evaluate --on`` writes."""
    defined = [value for value in auroc.values() if value is not None]
    mean = sum(defined) / len(defined) if defined else None
    document = {"dataset": dataset, "split": "test", "best_epoch": 1, "mean_auroc": mean, "auroc": auroc, **other}
    (run / "evaluations").mkdir(exist_ok=True)
    (run / "evaluations" / f"{dataset}_{document['split']}.json").write_text(json.dumps(document))


def test_rows_are_cells_and_columns_datasets(tmp_path: Path) -> None:
    for seed, there in ((0, 0.70), (1, 0.74)):
        run = write_run(
            tmp_path / "runs",
            student(seed=seed),
            {"Edema": 0.80 + seed / 100, "Effusion": 0.9},
            result={"best_epoch": 1},
        )
        scored(run, "clinic", {"Edema": there})
        scored(run, "mimic_cxr", {"Edema": 0.6, "Effusion": 0.7})
        scored(run, "clinic", {"Edema": 0.1}, split="validation")  # no test score
    stale = write_run(tmp_path / "runs", student(teacher="imagenet"), {"Edema": 0.8, "Effusion": 0.9})
    scored(stale, "clinic", {"Edema": 0.3}, best_epoch=0)  # of weights that the run did not end with
    build_report(tmp_path / "runs", tmp_path / "out", Options(resamples=0))
    text = (tmp_path / "out" / "tables.md").read_text()
    part = text[text.index("Scores on other datasets") :].split("\n\n")[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()]
    assert rows[0][-2:] == ["clinic", "MIMIC-CXR"]
    assert len(rows) == 3  # head, rule, one cell: the other has no current score
    assert rows[2][-2].startswith("72.00 ± 3.92 (n=2) / 1 label, own 80.50 ± 0.98")
    assert rows[2][-1].startswith("65.00 ± 0.00 (n=2) / 2 labels, own 85.25 ± 0.49")


def test_a_forced_score_of_seen_patients_is_marked(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", student(), {"Edema": 0.8, "Effusion": 0.9}, result={"best_epoch": 1})
    scored(run, "clinic", {"Edema": 0.99}, seen_in_training=["own training: 1 patients in both"])
    scored(run, "mimic_cxr", {"Edema": 0.7})
    build_report(tmp_path / "runs", tmp_path / "out", Options(resamples=0))
    text = (tmp_path / "out" / "tables.md").read_text()
    row = text[text.index("Scores on other datasets") :].split("\n\n")[1].splitlines()[2]
    clinic, mimic = (cell.strip() for cell in row.strip("|").split("|")[-2:])
    assert clinic.startswith("99.00 (n=1) / ") and "SEEN" in clinic
    assert "SEEN" not in mimic
    assert "SEEN: patients of the split were in the training of the weights" in text


def test_without_such_scores_there_is_no_table(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", student(), {"Edema": 0.8, "Effusion": 0.9})
    build_report(tmp_path / "runs", tmp_path / "out", Options(resamples=0))
    assert "Scores on other datasets" not in (tmp_path / "out" / "tables.md").read_text()


@pytest.mark.parametrize("text", ["{", "[]", '{"mean_auroc": "high"}'])
def test_a_damaged_file_of_scores_is_named(tmp_path: Path, text: str) -> None:
    run = write_run(tmp_path / "runs", student(), {"Edema": 0.8, "Effusion": 0.9})
    (run / "evaluations").mkdir()
    (run / "evaluations" / "clinic_test.json").write_text(text)
    build_report(tmp_path / "runs", tmp_path / "out", Options(resamples=0))
    assert "clinic_test.json" in (tmp_path / "out" / "index.html").read_text()
