"""What the report says and draws of what the weights have seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from report_fixtures import write_run
from split_beton import Row, make_beton

from harness.config import AttentionTransfer, RunConfig, Weights
from launch.grids.registry import load_grid
from launch.report.build import read_data
from launch.report.content import Picture, ReportData
from launch.report.figures.lineage import lineage_boxes, lineage_figure
from launch.report.options import Options
from launch.report.parts import PARTS
from launch.report.tables.seen import what_weights_have_seen
from launch.report.tables.table import Table


def write(runs: Path, config: RunConfig, content_hash: str) -> None:
    values: dict[str, Any] = {"content_hash": content_hash}
    write_run(runs, config, 0.7, provenance=values, result=values)


def collected(runs: Path, data_dir: Path | None = None) -> ReportData:
    return read_data(runs, runs.parent / "report", Options(resamples=0, data_dir=data_dir))


def test_a_test_patient_in_a_teachers_training_is_in_the_table(tmp_path: Path) -> None:
    whole_rows: list[Row] = [("t.png", "8", "train", 1), ("u.png", "9", "train", 2), ("v.png", "7", "test", 3)]
    whole = make_beton(tmp_path, "chestxray14", whole_rows).sidecar.content_hash
    part = make_beton(tmp_path, "rsna_pneumonia", [("a.png", "1", "train", 4), ("x.png", "9", "test", 5)])
    from report_fixtures import pretraining, student

    teacher = pretraining()
    own = student(dataset="rsna_pneumonia")
    taught = dataclasses.replace(own, objective=AttentionTransfer(teacher=Weights(kind="run", run=teacher)))
    for config, content_hash in (
        (teacher, whole),
        (own, part.sidecar.content_hash),
        (taught, part.sidecar.content_hash),
    ):
        write(tmp_path / "runs", config, content_hash)

    def last_columns(data_dir: Path | None) -> dict[str, tuple[str, ...]]:
        (table,) = what_weights_have_seen(collected(tmp_path / "runs", data_dir))
        return {f"{row[0].text} {row[4].text}": tuple(value.text for value in row[5:]) for row in table.rows}

    assert last_columns(tmp_path) == {
        "ChestX-ray14 Transfer learning": ("-", "-", "-", "none"),
        "RSNA Pneumonia Transfer learning": ("-", "-", "-", "none"),
        "RSNA Pneumonia Attention transfer, ChestX-ray14 teacher": (
            *("-", "ChestX-ray14", "-"),
            "SEEN, teacher: 1 patients",
        ),
    }
    unknown = last_columns(None)["RSNA Pneumonia Attention transfer, ChestX-ray14 teacher"]
    assert unknown[-1] == "not known (teacher)"


def test_the_papers_cells_are_drawn_in_a_few_boxes(tmp_path: Path) -> None:
    runs = [run for run in load_grid("paper").runs if run.kind != "search" and run.config.seed == 0]
    for run in runs:
        write_run(tmp_path / "runs", run.config, 0.7)
    data = collected(tmp_path / "runs")
    cells = [cell for cell in data.cells if cell.role == "student"]
    boxes = lineage_boxes(cells)
    counts = {text: int(text.split()[0]) for text in boxes if " cells of " in text}
    assert sum(counts.values()) == len(cells) == 63
    (taught,) = [
        box.sources
        for text, box in boxes.items()
        if text.startswith("8 cells of CheXpert (1k, 5k, 50k, full) from ChestX-ray14 weights: ")
        and "MIMIC-CXR teacher" in text
    ]
    assert taught == {
        ("CheXpert, train", "trained on"),
        ("run on ChestX-ray14 from ImageNet weights", "started from"),
        ("run on MIMIC-CXR from ImageNet weights", "learnt from"),
        ("beta search on CheXpert from ImageNet weights, MIMIC-CXR teacher", "chosen by"),
    }
    assert [boxes[text].layer for text in ("ImageNet", "run on MIMIC-CXR from ImageNet weights")] == [0, 1]
    data.out.mkdir()
    (drawn,) = lineage_figure(data)
    assert drawn.path.stat().st_size > 0 and drawn.pdf.stat().st_size > 0


def test_both_are_parts_of_the_page(tmp_path: Path) -> None:
    """A drawing of cells that no run stands behind would say nothing."""
    parts = [part for part in PARTS.values() if part.section == "What the weights have seen"]
    for name, kinds in (("chexpert_100_chestxray14_tl_d40_r0", [Table, Picture]), ("teacher_mimic_d121", [Table])):
        (run,) = [run for run in load_grid("demo").runs if run.name == name]
        write_run(tmp_path / name / "runs", run.config, 0.7)
        data = collected(tmp_path / name / "runs")
        data.out.mkdir()
        items = [item for part in sorted(parts, key=lambda part: part.order) for item in part.build(data)]
        assert [type(item) for item in items] == kinds
