"""Divide runs into stages of job arrays, and find what each of their tasks waits for.

A stage is a level of the graph of needs: one array for each place of its runs, whatever they wait for, since SLURM
lets each task of an array have dependencies of its own. So the number of sbatch calls is the depth of the graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from launch.executors.slurm.places import ProfilePlace
from launch.grids.grid import GridRun, needs_first

NICE_LEVELS = 10
"""Different nice values of one submission: runs that differ little share one, so that few calls set them."""

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One job: runs that share its GPUs, all of one place, with the same needs and the same dependants."""

    runs: tuple[GridRun, ...]
    place: ProfilePlace
    needs: tuple[str, ...]
    """Ids of the runs, queued or to be queued, that must be done first; sorted."""


def make_stages(
    runs: Sequence[GridRun],
    queued: Collection[str],
    *,
    places: Mapping[str, ProfilePlace],
    priority: Mapping[str, float],
) -> list[list[Task]]:
    """Return the stages in the order of submission, in each the tasks with the longest chain first.

    Args:
        runs: what is to be queued; their needs are done, among them, or in ``queued``.
        queued: ids of runs that the queue holds already.
        places: by run id, where the run is queued; its profile says how many runs share a job.
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
    groups: dict[tuple[ProfilePlace, int, tuple[str, ...], frozenset[str]], list[GridRun]] = defaultdict(list)
    for run in sorted(ordered, key=lambda run: -priority.get(run.run_id, 0.0)):
        run_id = run.run_id
        groups[places[run_id], levels[run_id], open_needs[run_id], frozenset(dependants.get(run_id, ()))].append(run)
    for (place, level, needs, _), members in groups.items():
        parts = chunks(members, place.cluster.runs_in_job)
        stages[level] += [Task(runs=tuple(part), place=place, needs=needs) for part in parts]
    for stage in stages:
        stage.sort(key=lambda task: -max(priority.get(run.run_id, 0.0) for run in task.runs))
    return stages


def arrays(stage: Iterable[Task], most: int) -> Iterator[Sequence[Task]]:
    """Yield the arrays of a stage: those of each place together, at most ``most`` tasks each."""
    by_place: dict[ProfilePlace, list[Task]] = defaultdict(list)
    for task in stage:
        by_place[task.place].append(task)
    for tasks in by_place.values():
        yield from chunks(tasks, most)


def nice_values(tasks: Sequence[Task], priority: Mapping[str, float]) -> list[int]:
    """Return a nice value for each task: 0 for the longest chain of ``priority``, ``max_nice`` for one of no cost."""
    longest = max(priority.values(), default=0.0)
    urgency = [max(priority.get(run.run_id, 0.0) for run in task.runs) / (longest or 1.0) for task in tasks]
    return [
        task.place.cluster.max_nice * round(NICE_LEVELS * (1.0 - share)) // NICE_LEVELS
        for task, share in zip(tasks, urgency, strict=True)
    ]


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
