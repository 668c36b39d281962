"""Grids of many runs: seconds for 20,000, and points that share all but their seed are what they are alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from datasets.errors import InputError
from harness.config import from_dict, to_dict
from launch.grids.grid import Grid
from launch.grids.toml_file import load_grid_toml
from launch.plan.cost import estimate
from launch.plan.decide import decide
from launch.plan.run_state import read_states

GRID = """
[defaults]
data = {{ dataset = "chestxray14", image_size = 64 }}
init.kind = "none"
[[runs]]
name = "teacher"
kind = "prerequisite"
seeds = {teachers}
data.subset = "200"
[[runs]]
name = "at_{{size}}"
seeds = {seeds}
data.subset = ["200", "1k"]
network.name = "densenet40"
objective.method = "attention_transfer"
objective.teacher.run = "teacher_r{teacher}"
"""


def load(folder: Path, **values: object) -> Grid:
    path = folder / "large.toml"
    path.write_text(GRID.format(**{"teachers": 1, "seeds": 3, "teacher": "0", **values}))
    return load_grid_toml(path)


def test_twenty_thousand_runs_are_planned_in_seconds(tmp_path: Path) -> None:
    started = time.process_time()
    grid = load(tmp_path, seeds=10_000)
    found = read_states(grid.runs, tmp_path, {})
    plan, cost = decide(grid.runs, found), estimate(grid.runs, found, {})
    assert time.process_time() - started < 8.0  # 1.7 s on a core of a Xeon of 2.1 GHz
    assert [decision.action for decision in plan] == ["run", *["wait"] * 20_000]
    assert len({run.run_id for run in grid.runs}) == len(cost.hours) == 20_001


def test_runs_that_differ_in_the_seed_alone_are_what_they_are_alone(tmp_path: Path) -> None:
    runs = load(tmp_path).runs
    assert [run.name for run in runs] == [
        "teacher_r0",
        *(f"at_{size}_r{seed}" for size in ("200", "1k") for seed in range(3)),
    ]
    for run in runs:
        alone = from_dict(to_dict(run.config), where="here")
        assert (alone, alone.run_id) == (run.config, run.run_id)
    assert runs[1].config.objective is runs[2].config.objective


def test_a_need_that_goes_by_the_seed_is_looked_up_for_each(tmp_path: Path) -> None:
    runs = {run.name: run for run in load(tmp_path, teachers=3, teacher="{seed}").runs}
    for seed in range(3):
        assert runs[f"at_1k_r{seed}"].needs == (runs[f"teacher_r{seed}"].run_id,)


@pytest.mark.parametrize("seeds", ["[0, -1]", "[0, true]", '[0, "1"]', "[0, 1.0]", "[0, 9223372036854775808]"])
def test_a_wrong_seed_is_refused_behind_a_right_one(tmp_path: Path, seeds: str) -> None:
    with pytest.raises(InputError, match="seed"):
        load(tmp_path, seeds=seeds)
