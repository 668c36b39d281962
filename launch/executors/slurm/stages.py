"""Divide runs into stages of job arrays, and find what each of their tasks waits for.

A stage is a level of the graph of needs: one array, whatever its runs wait for, since SLURM lets each task of an
array have dependencies of its own. So the number of sbatch calls is the depth of the graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from launch.grids.grid import GridRun, needs_first

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One job: runs that share its GPUs, all with the same needs and the same dependants."""

    runs: tuple[GridRun, ...]
    needs: tuple[str, ...]
    """Ids of the runs, queued or to be queued, that must be done first; sorted."""


def make_stages(
    runs: Sequence[GridRun], queued: Collection[str], *, runs_per_task: int, priority: Mapping[str, float]
) -> list[list[Task]]:
    """Return the stages in the order of submission, in each the tasks with the longest chain first.

    Args:
        runs: what is to be queued; their needs are done, among them, or in ``queued``.
        queued: ids of runs that the queue holds already.
        runs_per_task: runs that share a job.
        priority: by run id, what the run and the costliest chain after it cost.
    """
    ordered = needs_first(runs)
    wanted = {run.run_id for run in ordered}
    open_needs = {run.run_id: tuple(sorted(n for n in run.needs if n in wanted or n in queued)) for run in ordered}
    levels: dict[str, int] = {}
    dependants: dict[str, set[str]] = defaultdict(set)
    for run in ordered:
        needs = open_needs[run.run_id]
        levels[run.run_id] = 1 + max((levels.get(need, 0) for need in needs), default=-1)
        for need in needs:
            dependants[need].add(run.run_id)
    stages: list[list[Task]] = [[] for _ in range(1 + max(levels.values(), default=-1))]
    groups: dict[tuple[int, tuple[str, ...], frozenset[str]], list[GridRun]] = defaultdict(list)
    for run in sorted(ordered, key=lambda run: -priority.get(run.run_id, 0.0)):
        key = (levels[run.run_id], open_needs[run.run_id], frozenset(dependants[run.run_id]))
        groups[key].append(run)
    for (level, needs, _), members in groups.items():
        stages[level] += [Task(runs=tuple(part), needs=needs) for part in chunks(members, runs_per_task)]
    for stage in stages:
        stage.sort(key=lambda task: -max(priority.get(run.run_id, 0.0) for run in task.runs))
    return stages


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield consecutive parts of at most ``size`` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def coarse_dependency(stage: Sequence[Task], placed: Mapping[str, str]) -> str:
    """Return what a stage's array waits for until its tasks get their own dependencies; it never fails the array."""
    jobs = {placed[need].partition("_")[0] for task in stage for need in task.needs}
    return ":".join(("afterany", *sorted(jobs)))


def exact_dependencies(stage: Sequence[Task], placed: Mapping[str, str]) -> dict[str, list[int]]:
    """Return the positions of the stage's tasks by the dependency of each, all needs ended well.

    ``placed`` gives a run's job.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for position, task in enumerate(stage):
        if task.needs:
            groups[":".join(("afterok", *sorted({placed[need] for need in task.needs})))].append(position)
    return dict(groups)
