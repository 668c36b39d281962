"""The paper's grid against its printed tables: every column of all 63 configurations and the prerequisites."""

from __future__ import annotations

import csv
from collections import Counter
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from harness.config import AttentionTransfer, BetaSearch, RunConfig, Schedule, TransferLearning, chexclusion
from launch.grids.grid import Grid, GridRun
from launch.grids.paper import BETA_POINTS, REPETITIONS, PaperConfiguration, paper_configurations
from launch.grids.registry import load_grid

GRID: Grid = load_grid("paper")
BY_NAME = {run.name: run for run in GRID.runs}
PRINTED = {row.name: row for row in paper_configurations()}
TRAINABLE = {
    ("densenet121", "all"): 6_968_206,
    ("densenet121", "last34"): 2_700_814,
    ("densenet40", "all"): 1_364_142,
}
PREREQUISITES = {row.key: BY_NAME[row.name].config for row in PRINTED.values() if row.key.startswith("P")}
CONFIGURATIONS = [row for row in PRINTED.values() if row.key.startswith("R")]
DATASETS = {("chestxray14", "5.6k"): ("chestxray14_5.6k", "full"), ("chexpert", "178k"): ("chexpert", "full")}


def columns(config: RunConfig) -> dict[str, object]:
    """A config in the columns of paper.csv."""
    objective = config.objective
    key = {run.run_id: key for key, run in PREREQUISITES.items()}
    needs = [key[need.run_id] for need in config.needs if need.run_id in key]
    return {
        "data": (config.data.dataset, config.data.subset),
        "init": config.init.source,
        "method": objective.method,
        "teacher": objective.teacher.source if isinstance(objective, AttentionTransfer) else "none",
        "student": config.network.name,
        "scope": config.network.scope,
        "trainable_params": TRAINABLE[config.network.name, config.network.scope],
        "depends_on": tuple(needs),
    }


def printed_columns(row: PaperConfiguration) -> dict[str, object]:
    names = ("init", "method", "teacher", "student", "scope", "trainable_params", "depends_on")
    data = DATASETS.get((row.dataset, row.train_size), (row.dataset, row.train_size))
    return {"data": data, **{name: getattr(row, name) for name in names}}


def test_the_number_of_runs_of_each_kind() -> None:
    assert Counter(run.kind for run in GRID.runs) == {"prerequisite": 3, "search": 128, "repetition": 189}
    assert len({run.run_id for run in GRID.runs}) == 320


def test_the_names_are_the_printed_ones() -> None:
    expected = {f"{row.name}_r{seed}" for row in CONFIGURATIONS for seed in range(REPETITIONS)}
    assert {run.name for run in GRID.runs if run.kind == "repetition"} == expected
    assert {run.name for run in GRID.runs if run.kind == "prerequisite"} == {
        row.name for row in PRINTED.values() if row.key.startswith("P")
    }


@pytest.mark.parametrize("row", CONFIGURATIONS, ids=lambda row: row.key)
def test_each_configuration_equals_its_row(row: PaperConfiguration) -> None:
    for seed in range(REPETITIONS):
        run = BY_NAME[f"{row.name}_r{seed}"]
        assert columns(run.config) == printed_columns(row)
        assert run.cells == row.tables
        assert run.config.seed == seed
        assert run.config.schedule == Schedule()
        assert (run.config.data.image_size, run.config.data.rotation_deg) == (256, 15.0)


@pytest.mark.parametrize("key", ["P1", "P2", "P3"])
def test_each_prerequisite_equals_its_row(key: str) -> None:
    row = next(row for row in PRINTED.values() if row.key == key)
    assert columns(PREREQUISITES[key]) == printed_columns(row)
    assert PREREQUISITES[key].schedule == (chexclusion() if key == "P3" else Schedule())
    assert BY_NAME[row.name].cells == row.tables == ()


def test_every_printed_cell_has_its_configuration() -> None:
    """The 79 cells of Tables 2a, 2b, 3 and 5 are the 63 configurations, 16 of them printed twice."""
    keys = ("dataset", "train_size", "init", "method", "teacher", "student", "trainable_params", "auc", "ci")
    with (Path(__file__).parent / "paper_results.csv").open(newline="") as handle:
        printed = [
            (row["table"], *(type(getattr(CONFIGURATIONS[0], key))(row[key]) for key in keys))
            for row in csv.DictReader(handle)
        ]
    assert len(printed) == 79
    assert printed == [
        (table, *(getattr(row, key) for key in keys))
        for table in ("2a", "2b", "3", "5")
        for row in CONFIGURATIONS
        if table in row.tables
    ]


def test_beta_points_are_log_spaced_from_1_to_2000() -> None:
    np.testing.assert_allclose(BETA_POINTS, np.geomspace(1.0, 2000.0, 8), atol=5e-4)
    assert (BETA_POINTS[0], BETA_POINTS[-1]) == (1.0, 2000.0)


def search_of(run: GridRun) -> BetaSearch:
    assert isinstance(run.config.objective, AttentionTransfer)
    assert isinstance(run.config.objective.beta, BetaSearch)
    return run.config.objective.beta


def test_each_student_of_a_teacher_refers_to_the_search_of_its_own_kind() -> None:
    for row in CONFIGURATIONS:
        for seed in range(REPETITIONS):
            run = BY_NAME[f"{row.name}_r{seed}"]
            if isinstance(run.config.objective, TransferLearning):
                continue
            template = search_of(run).template
            assert isinstance(template.objective, AttentionTransfer)
            assert template.objective.teacher == run.config.objective.teacher
            assert template.network == run.config.network
            assert (template.init.source, template.seed) == ("imagenet", 0)
            size = "50k" if row.train_size == "178k" else run.config.data.subset
            assert (template.data.dataset, template.data.subset) == (run.config.data.dataset, size)


def test_sixteen_searches_of_eight_points_are_shared_by_all_students() -> None:
    students = [
        run for run in GRID.runs if run.kind == "repetition" and run.config.objective.method != "transfer_learning"
    ]
    searches = {tuple(run.run_id for run in search_of(student).runs) for student in students}
    assert len(searches) == 16
    assert {run_id for search in searches for run_id in search} == {r.run_id for r in GRID.runs if r.kind == "search"}
    for name, points in groupby((r for r in GRID.runs if r.kind == "search"), key=lambda r: r.name.split("_beta")[0]):
        betas = [run.config.objective.beta for run in points if isinstance(run.config.objective, AttentionTransfer)]
        assert tuple(betas) == BETA_POINTS, name


def test_needs_come_first_and_are_complete() -> None:
    seen: set[str] = set()
    for run in GRID.runs:
        assert set(run.needs) <= seen
        assert run.needs == tuple(need.run_id for need in run.config.needs)
        seen.add(run.run_id)
    assert len(BY_NAME["chexpert_178k_chestxray14_at-mimic_d40_r2"].needs) == 2 + 8
    assert BY_NAME["chexpert_1k_imagenet_tl_d121_r0"].needs == ()


def test_run_ids_stay_what_they_are() -> None:
    """A changed id would make every finished run be computed again; raise SCHEMA_VERSION when that is meant."""
    assert BY_NAME["pretrain_chestxray14_d121"].run_id == "chestxray14_full_imagenet_tl_d121_s0-6cbdcb961e"
    assert (
        BY_NAME["chexpert_1k_chestxray14_at-mimic_d40_r2"].run_id
        == "chexpert_1k_chestxray14_at-mimic_d40_s2-ee2e6e13db"
    )
