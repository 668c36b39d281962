"""The report of searches by halving: which points were stopped when, and whether the full search chose the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from report_fixtures import student, write_run

from harness.config import BetaSearch, RunConfig
from launch.report.build import read_data
from launch.report.content import Note
from launch.report.options import Options
from launch.report.tables.searches import searches
from launch.report.tables.table import Table

SEARCH = BetaSearch(
    template=student(teacher="imagenet", epochs=8),
    points=(1.0, 10.0, 100.0, 1000.0),
    pruner="halving",
    min_resource=2,
)
SCORES = {0: {1.0: 0.6, 10.0: 0.7, 100.0: 0.7, 1000.0: 0.65}, 1: {10.0: 0.72, 100.0: 0.74}, 2: {100.0: 0.8}}


def write(folder: Path, run: RunConfig, score: float, *, beta: float, epochs: int) -> None:
    result = {"validation": {"mean_auroc": score}, "beta": beta, "epochs": epochs}
    write_run(folder, run, 0.8, result=result)


def write_rungs(folder: Path, rungs: int, search: BetaSearch = SEARCH) -> None:
    for rung in range(rungs):
        for run, (beta, score) in zip(search.runs_of(rung), SCORES[rung].items(), strict=True):
            write(folder, run, score, beta=beta, epochs=SEARCH.rungs[rung].end)


def built(folder: Path) -> tuple[list[str], list[list[str]]]:
    """Notes, and of each row what stands behind the method."""
    items = list(searches(read_data(folder, folder / "report", Options(resamples=0))))
    notes = [item.text for item in items if isinstance(item, Note)]
    return notes, [
        [value.text for value in row[5:]] for item in items if isinstance(item, Table) for row in item.rows
    ]


def test_a_search_that_has_ended_beside_the_full_one(tmp_path: Path) -> None:
    write_rungs(tmp_path, 3)
    where = "CheXpert, 200, ImageNet, DenseNet-121, Attention transfer, ImageNet teacher: halving chose beta 100"
    assert built(tmp_path) == (
        [f"{where}; no full search to compare with"],
        [
            ["1", "2", "60.00", "stopped after rung 1 of 3", "-"],
            ["10", "4", "72.00", "stopped after rung 2 of 3", "-"],
            ["100", "8", "80.00", "trained to the end", "-"],
            ["1000", "2", "65.00", "stopped after rung 1 of 3", "-"],
        ],
    )
    for run, beta, score in zip(SEARCH.full.runs, SEARCH.points, (0.81, 0.79, 0.8, 0.7), strict=True):
        write(tmp_path, run, score, beta=beta, epochs=8)
    notes, rows = built(tmp_path)
    assert notes == [f"{where}, the full search 1"]
    assert [row[-1] for row in rows] == ["81.00", "79.00", "80.00", "70.00"]


def test_how_often_several_searches_chose_as_the_full_ones(tmp_path: Path) -> None:
    """One as its full search, one a beta that is a point worse."""
    for seed, ten in ((0, 0.79), (1, 0.81)):
        search = dataclasses.replace(SEARCH, template=dataclasses.replace(SEARCH.template, seed=seed))
        write_rungs(tmp_path, 3, search)
        for run, beta, score in zip(search.full.runs, SEARCH.points, (0.6, ten, 0.8, 0.7), strict=True):
            write(tmp_path, run, score, beta=beta, epochs=8)
    notes, rows = built(tmp_path)
    assert [note.partition(": ")[2] for note in notes[:2]] == [
        "halving chose beta 100, as the full search did",
        "halving chose beta 100, the full search 10",
    ]
    assert notes[2] == (
        "halving chose the full search's beta in 1 of 2 searches; 0.50 points of validation AUROC lost in the mean"
    )
    assert len(rows) == 8


def test_a_search_under_way(tmp_path: Path) -> None:
    write_rungs(tmp_path, 1)
    assert built(tmp_path) == ([], [])  # no run of a later rung says yet that these belong to a search
    write(tmp_path, SEARCH.runs_of(1)[1], 0.74, beta=100.0, epochs=4)
    notes, rows = built(tmp_path)
    assert notes[0].endswith("halving has not ended")
    assert [row[3] for row in rows] == [
        "stopped after rung 1 of 3",
        "goes on after rung 1 of 3",
        "waits for the others of rung 2 of 3",
        "stopped after rung 1 of 3",
    ]


def test_a_full_search_alone_has_no_table(tmp_path: Path) -> None:
    for run in SEARCH.full.runs:
        write_run(tmp_path, run, 0.8)
    write_run(tmp_path, dataclasses.replace(SEARCH.template, seed=1), 0.8)
    assert built(tmp_path) == ([], [])
