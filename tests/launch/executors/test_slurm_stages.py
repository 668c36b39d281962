"""Stages of job arrays: levels, bundles, exact and coarse dependencies, and the paper's whole grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from grid_stand_in import small_runs
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.executors.slurm.places import ProfilePlace
from launch.executors.slurm.profile import ClusterConfig
from launch.executors.slurm.stages import (
    arrays,
    chunks,
    coarse_dependency,
    exact_dependencies,
    make_stages,
    nice_values,
)
from launch.grids.grid import GridRun
from launch.grids.registry import load_grid
from launch.plan.cost import chains

RUNS = small_runs()
IDS = {name: run.run_id for name, run in RUNS.items()}


def place(runs_per_task: int = 1, **keys: Any) -> ProfilePlace:
    cluster = ClusterConfig(gpus_per_run=0, runs_per_job=runs_per_task, **keys)
    return ProfilePlace(name="the profile", where="profile.toml", cluster=cluster)


def alone(runs_per_task: int = 1, runs: Sequence[GridRun] = tuple(RUNS.values()), **keys: Any):
    """All runs at one place."""
    return dict.fromkeys([run.run_id for run in runs], place(runs_per_task, **keys))


def names(stages):
    return [[sorted(run.name for run in task.runs) for task in stage] for stage in stages]


def test_a_level_of_needs_is_a_stage_and_the_longest_chain_is_first() -> None:
    priority = {IDS["teacher"]: 9.0, IDS["pretrain"]: 5.0, IDS["c"]: 3.0, IDS["b"]: 2.0, IDS["a"]: 1.0}
    stages = make_stages(list(RUNS.values()), (), places=alone(), priority=priority)
    assert names(stages) == [[["teacher"], ["pretrain"]], [["c"], ["b"], ["a"]], [["d"]]]


def test_each_task_waits_for_its_own_needs_alone() -> None:
    stages = make_stages(list(RUNS.values()), (), places=alone(), priority={})
    placed = {IDS["pretrain"]: "1_0", IDS["teacher"]: "1_1", IDS["a"]: "2_0"}
    waits = {
        task.runs[0].name: dependency
        for stage in stages
        for dependency, numbers in exact_dependencies(stage, placed).items()
        for task in (stage[number] for number in numbers)
    }
    assert waits == {"a": "afterok:1_0", "b": "afterok:1_1", "c": "afterok:1_0:1_1", "d": "afterok:1_1:2_0"}
    assert coarse_dependency(stages[1], placed) == "afterany:1"
    assert coarse_dependency(stages[2], placed) == "afterany:1:2"


def test_done_needs_are_waited_for_no_more_and_queued_ones_are() -> None:
    stages = make_stages([RUNS["a"], RUNS["b"]], {IDS["teacher"]}, places=alone(), priority={})
    assert names(stages) == [[["a"]], [["b"]]]
    assert exact_dependencies(stages[1], {IDS["teacher"]: "7"}) == {"afterok:7": [0]}


def test_only_runs_with_the_same_needs_and_dependants_share_a_job() -> None:
    runs = load_grid("demo").runs
    stages = make_stages(runs, (), places=alone(2, runs), priority={})
    assert [len(stage) for stage in stages] == [3, 4]
    assert [[len(task.runs) for task in stage] for stage in stages] == [[1, 1, 1], [2, 2, 2, 2]]


@pytest.mark.parametrize("runs_per_task", [1, 4])
def test_the_papers_grid_is_three_arrays(runs_per_task: int) -> None:
    grid = load_grid("paper")
    stages = make_stages(grid.runs, (), places=alone(runs_per_task, grid.runs), priority={})
    assert [sum(len(task.runs) for task in stage) for stage in stages] == [112, 154, 54]
    assert sum(len({task.needs for task in stage if task.needs}) for stage in stages) == 31
    for stage in stages:
        for task in stage:
            for run in task.runs:
                assert set(task.needs) == set(run.needs)


@given(st.sets(st.sampled_from(sorted(IDS))), st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_every_run_is_in_one_task_after_all_that_it_needs(done: set[str], runs_per_task: int) -> None:
    wanted = [run for name, run in RUNS.items() if name not in done]
    stages = make_stages(wanted, (), places=alone(runs_per_task), priority={})
    level = {run.run_id: number for number, stage in enumerate(stages) for task in stage for run in task.runs}
    assert sorted(level) == sorted(run.run_id for run in wanted)
    assert sum(len(task.runs) for stage in stages for task in stage) == len(wanted)
    assert all(stage for stage in stages)
    for run in wanted:
        assert all(level[need] < level[run.run_id] for need in run.needs if need in level)


def test_arrays_are_cut() -> None:
    assert [list(part) for part in chunks([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]


def test_runs_of_two_places_share_neither_a_job_nor_an_array() -> None:
    near, far = place(2), place(2)
    places = {run.run_id: far if run.name in ("b", "teacher") else near for run in RUNS.values()}
    stages = make_stages(list(RUNS.values()), (), places=places, priority={IDS["b"]: 1.0})
    found = [
        [[sorted(run.name for run in task.runs) for task in part] for part in arrays(stage, 9)] for stage in stages
    ]
    assert found == [[[["pretrain"]], [["teacher"]]], [[["b"]], [["a"], ["c"]]], [[["d"]]]]
    assert exact_dependencies(stages[1], {IDS["teacher"]: "7", IDS["pretrain"]: "6"}) == {
        "afterok:7": [0],
        "afterok:6": [1],
        "afterok:6:7": [2],
    }


def test_a_run_is_the_nicer_the_shorter_the_chain_that_waits_for_it() -> None:
    hours = {"pretrain": 2.0, "teacher": 1.0, "a": 4.0, "b": 1.0, "c": 2.0, "d": 4.0}
    chain = chains(list(RUNS.values()), {IDS[name]: hours[name] for name in hours})
    assert {name: chain[IDS[name]] for name in hours} == {
        "pretrain": 10.0,
        "teacher": 5.0,
        "a": 8.0,
        "b": 1.0,
        "c": 2.0,
        "d": 4.0,
    }
    stages = make_stages(list(RUNS.values()), (), places=alone(max_nice=50), priority=chain)
    assert names(stages) == [[["pretrain"], ["teacher"]], [["a"], ["c"], ["b"]], [["d"]]]
    assert [nice_values(stage, chain) for stage in stages] == [[0, 25], [10, 40, 45], [30]]
    calm = make_stages(list(RUNS.values()), (), places=alone(), priority=chain)
    assert [nice_values(stage, chain) for stage in calm] == [[0, 0], [0, 0, 0], [0]]
