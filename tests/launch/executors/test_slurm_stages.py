"""Stages of job arrays: levels, bundles, exact and coarse dependencies, and the paper's whole grid."""

from __future__ import annotations

import pytest
from grid_stand_in import small_runs
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.executors.slurm.stages import chunks, coarse_dependency, exact_dependencies, make_stages
from launch.grids.registry import load_grid

RUNS = small_runs()
IDS = {name: run.run_id for name, run in RUNS.items()}


def names(stages):
    return [[sorted(run.name for run in task.runs) for task in stage] for stage in stages]


def test_a_level_of_needs_is_a_stage_and_the_longest_chain_is_first() -> None:
    priority = {IDS["teacher"]: 9.0, IDS["pretrain"]: 5.0, IDS["c"]: 3.0, IDS["b"]: 2.0, IDS["a"]: 1.0}
    stages = make_stages(list(RUNS.values()), (), runs_per_task=1, priority=priority)
    assert names(stages) == [[["teacher"], ["pretrain"]], [["c"], ["b"], ["a"]], [["d"]]]


def test_each_task_waits_for_its_own_needs_alone() -> None:
    stages = make_stages(list(RUNS.values()), (), runs_per_task=1, priority={})
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
    stages = make_stages([RUNS["a"], RUNS["b"]], {IDS["teacher"]}, runs_per_task=1, priority={})
    assert names(stages) == [[["a"]], [["b"]]]
    assert exact_dependencies(stages[1], {IDS["teacher"]: "7"}) == {"afterok:7": [0]}


def test_only_runs_with_the_same_needs_and_dependants_share_a_job() -> None:
    runs = load_grid("demo").runs
    stages = make_stages(runs, (), runs_per_task=2, priority={})
    assert [len(stage) for stage in stages] == [3, 4]
    assert [[len(task.runs) for task in stage] for stage in stages] == [[1, 1, 1], [2, 2, 2, 2]]


@pytest.mark.parametrize("runs_per_task", [1, 4])
def test_the_papers_grid_is_three_arrays(runs_per_task: int) -> None:
    grid = load_grid("paper")
    stages = make_stages(grid.runs, (), runs_per_task=runs_per_task, priority={})
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
    stages = make_stages(wanted, (), runs_per_task=runs_per_task, priority={})
    level = {run.run_id: number for number, stage in enumerate(stages) for task in stage for run in task.runs}
    assert sorted(level) == sorted(run.run_id for run in wanted)
    assert sum(len(task.runs) for stage in stages for task in stage) == len(wanted)
    assert all(stage for stage in stages)
    for run in wanted:
        assert all(level[need] < level[run.run_id] for need in run.needs if need in level)


def test_arrays_are_cut() -> None:
    assert [list(part) for part in chunks([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]
