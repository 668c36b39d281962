"""The paper's tables: which cell stands where, against which printed value."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import pytest
from report_fixtures import repetitions, student, write_run

from harness.config import BetaSearch, RunConfig
from launch.grids.paper import paper_grid
from launch.report.build import read_data
from launch.report.content import ReportData
from launch.report.options import Options
from launch.report.read.names import cell_label
from launch.report.tables.paper_tables import (
    COLUMNS,
    figure_3_cells,
    matching_cells,
    paper_tables,
    printed_places,
    tidy_csv,
)


def data_of(directory: Path) -> ReportData:
    return read_data(directory, directory / "report", Options(resamples=0))


def paper_student(**changes: object) -> RunConfig:
    return student(subset="1k", image_size=256, **changes)  # type: ignore[arg-type]


def test_all_79_places_and_the_six_doubtful_ones() -> None:
    places = printed_places()
    assert len(places) == 79
    assert len({place.label for place in places}) == 63
    assert len({place.printed.key for place in places}) == 63
    doubtful = [
        (place.table, place.printed.train_size, place.printed.init, place.printed.auc)
        for place in places
        if place.doubtful
    ]
    assert doubtful == [
        ("2a", "50k", "chestxray14", 76.99),
        ("2a", "50k", "imagenet", 76.01),
        ("2a", "178k", "imagenet", 78.47),
        ("2b", "50k", "chestxray14", 76.99),
        ("2b", "50k", "imagenet", 76.01),
        ("2b", "178k", "imagenet", 78.47),
    ]


def test_every_repetition_of_the_grid_has_its_place() -> None:
    wanted = {place.label for place in printed_places()}
    runs = [run for run in paper_grid().runs if run.kind == "repetition"]
    assert {cell_label(run.config) for run in runs} == wanted


def test_ours_printed_and_difference_stand_together(tmp_path: Path) -> None:
    for config, value in zip(repetitions(paper_student(), 3), (0.68, 0.69, 0.70), strict=True):
        write_run(tmp_path, config, value)
    write_run(tmp_path, paper_student(scope="last34"), 0.675)
    tables = paper_tables(data_of(tmp_path))
    assert [table.key for table in tables] == ["paper-2a"]
    (table,) = tables
    assert [column.lines for column in table.columns] == [
        ("Training images",),
        ("Initial weights",),
        ("TL", "DenseNet-121", "7.0m trainable"),
        ("TL", "DenseNet-121", "2.7m trainable"),
        ("AT, MIMIC-CXR teacher", "DenseNet-121", "7.0m trainable"),
    ]
    assert len(table.rows) == 8
    assert [value.lines for value in table.rows[1]] == [
        ("1k",),
        ("ImageNet",),
        ("69.00 ± 1.13 (t ± 2.48)", "paper 68.06 ± 0.14", "vs paper +0.94"),
        ("67.50 (n=1)", "paper 67.50 ± 0.24", "vs paper +0.00"),
        ("missing", "paper 72.33 ± 0.12"),
    ]
    assert table.rows[4][3].lines == ("missing", "paper 76.99 ± 0.03 †")
    assert any(note.startswith("† doubtful") for note in table.notes)


def test_the_papers_tables_come_alone_where_they_belong(tmp_path: Path) -> None:
    write_run(tmp_path, paper_student(teacher="mimic_cxr"), 0.72)
    write_run(tmp_path, student(subset="full", image_size=256, dataset="chestxray14_5.6k", teacher="imagenet"), 0.7)
    keys = [table.key for table in paper_tables(data_of(tmp_path))]
    assert keys == ["paper-2a", "paper-3", "paper-5"]


def test_other_sizes_and_beta_searches_are_not_the_papers(tmp_path: Path) -> None:
    search = BetaSearch(template=paper_student(teacher="mimic_cxr"), points=(1.0, 10.0))
    config = paper_student(teacher="mimic_cxr", beta=search)
    for run in (student(subset="1k", image_size=64), *search.runs):
        write_run(tmp_path, run, 0.9)
    write_run(tmp_path, config, 0.73)
    cells = data_of(tmp_path).cells
    chosen, notes = matching_cells(cells)
    assert [cell.config for cell in chosen.values()] == [config]
    assert notes == {}


def test_of_two_matching_cells_the_fuller_is_shown_and_the_other_is_said(tmp_path: Path) -> None:
    write_run(tmp_path, paper_student(epochs=2), 0.6)
    for config in repetitions(paper_student(epochs=8), 2):
        write_run(tmp_path, config, 0.7)
    (table,) = paper_tables(data_of(tmp_path))
    assert table.rows[1][2].lines[0] == "70.00 ± 0.00 (t ± 0.00, n=2)"
    assert "2 cells match" in table.notes[-1]
    assert "schedule.epochs=8" in table.notes[-1]


def test_figure_3_takes_both_targets_from_imagenet(tmp_path: Path) -> None:
    wanted = [
        student(subset="5k", image_size=256, network="densenet40"),
        student(subset="5k", image_size=256, teacher="mimic_cxr"),
        student(subset="full", image_size=256, dataset="chestxray14_5.6k"),
    ]
    others = [paper_student(), student(subset="5k", image_size=256, scope="last34")]
    for config in (*wanted, *others):
        write_run(tmp_path, config, 0.7)
    assert {cell.config for cell in figure_3_cells(data_of(tmp_path).cells)} == set(wanted)


def test_csv_is_tidy_and_lists_missing_places(tmp_path: Path) -> None:
    configs = repetitions(paper_student(), 2)
    write_run(tmp_path, configs[0], 0.68)
    write_run(tmp_path, configs[1], 0.70)
    rows = list(csv.DictReader(io.StringIO(tidy_csv(data_of(tmp_path).cells))))
    assert len(rows) == 1 + 24
    assert set(rows[0]) == set(COLUMNS)
    ours = next(row for row in rows if row["table"] == "2a" and row["n"] != "0")
    assert {key: ours[key] for key in COLUMNS} == {
        **dict.fromkeys(COLUMNS, ""),
        "table": "2a",
        "dataset": "chexpert",
        "subset": "1k",
        "init": "imagenet",
        "method": "transfer_learning",
        "teacher": "none",
        "network": "densenet121",
        "scope": "all",
        "image_size": "256",
        "role": "student",
        "n": "2",
        "num_unfinished": "0",
        "mean": "69.0000",
        "ci95": "1.9600",
        "ci95_t": "12.7062",
        "values": "68.0000 70.0000",
        "paper_id": "R08",
        "paper_mean": "68.06",
        "paper_ci95": "0.14",
        "difference": "0.9400",
        "doubtful": "no",
        "run_ids": " ".join(config.run_id for config in configs),
    }
    missing = next(row for row in rows if row["paper_id"] == "R02")
    assert (missing["n"], missing["mean"], missing["difference"], missing["paper_mean"]) == ("0", "", "", "70.07")


@pytest.mark.parametrize("seed", [0, 1])
def test_the_chosen_cell_does_not_depend_on_the_seed(tmp_path: Path, seed: int) -> None:
    write_run(tmp_path, dataclasses.replace(paper_student(), seed=seed), 0.7)
    assert len(paper_tables(data_of(tmp_path))) == 1
