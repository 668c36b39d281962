"""``cxr grid watch``, ``retry``, ``cancel``, ``logs``: grid and run names come in; orders, logs go out."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from datasets.errors import InputError
from harness.runs.folder import RunFolder
from launch.cli.grid import MAX_LISTED, Submit, _GridCommand
from launch.executors.process import log_tail
from launch.executors.slurm.queue import QueueError, cancel
from launch.executors.slurm.states import log_of, look_at_queue, queue_if_any
from launch.executors.slurm.submission import FOLDER
from launch.grids.grid import GridRun
from launch.grids.registry import load_grid
from launch.plan.decide import Found, decide
from launch.plan.history import count_endings, read_history
from launch.plan.run_state import DatasetFacts
from launch.plan.status_table import print_status

MAX_IN_VAIN = 5
TAIL = 12
"""Last lines of its log that are shown of a failed run."""


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """Take a grid's runs out of the queue; running ones save first. A later submit goes on with them.

    Example: cxr grid cancel paper --only chexpert_1k
    """

    grid: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="GRID")]
    """Name of the grid, demo or paper, a TOML file, or a Python file with a function grid() that returns one."""
    runs_dir: Path = Path("runs")
    """Folder of run folders."""
    only: str | None = None
    """Only runs whose name contains this; what needs them is cancelled with them."""

    def run(self) -> None:
        """Cancel and say how many jobs."""
        runs = [run for run in load_grid(self.grid).runs if self.only is None or self.only in run.name]
        if not runs:
            raise InputError(
                f"--only {self.only}: no run of grid {self.grid} has this in its name; see cxr grid plan"
            )
        view = look_at_queue(self.runs_dir)
        jobs = [job.job for run in runs if (job := view.job_of(run.run_id)) is not None]
        cancel(sorted(set(jobs)))
        print(f"{len(set(jobs))} {'job' if len(set(jobs)) == 1 else 'jobs'} cancelled", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Retry(Submit):
    """Submit again the runs that failed, with what they need and nothing else; takes what submit takes.

    Example: cxr grid retry paper --cluster profile.toml --data-dir data
    """

    def look(self) -> tuple[tuple[GridRun, ...], dict[str, DatasetFacts], dict[str, Found]]:
        """The failed runs and what they need."""
        runs, facts, found = super().look()
        chosen = {run.run_id for run in runs if found[run.run_id].state == "failed"}
        if not chosen:
            raise InputError(f"no run of grid {self.grid} has failed; see cxr grid status")
        for run in reversed(runs):
            if run.run_id in chosen:
                chosen.update(run.needs)
        return tuple(run for run in runs if run.run_id in chosen), facts, found


@dataclass(frozen=True, kw_only=True)
class Watch(Submit):
    """Submit to a cluster and stay: queue again whatever left the queue unfinished, until all is done or has failed.

    For clusters that cancel preempted jobs instead of queueing them again. Failed runs are left to cxr grid retry.

    Example: cxr grid watch paper --cluster profile.toml --data-dir data
    """

    interval_s: float = 60.0
    """Time between two looks at the queue."""

    def run(self) -> None:
        """Watch; exit with status 1 when a run failed. A queue that does not answer is asked again."""
        if self.cluster is None:
            raise InputError("grid watch needs --cluster; on one machine cxr grid submit stays by itself")
        is_first, in_vain = True, _InVain(self.runs_dir)
        while True:
            try:
                if not self._queue_what_left(self.cluster, in_vain):
                    break
            except QueueError as error:
                if is_first:
                    raise
                print(f"warning: {error}; asking again in {self.interval_s:.0f} s", file=sys.stderr)
            is_first = False
            time.sleep(self.interval_s)
        runs, _facts, found = self.look()
        print_status(runs, found)
        failed = [run for run in runs if found[run.run_id].state == "failed"]
        for run in failed[:MAX_LISTED]:
            tail = "".join(f"\n    {line}" for line in log_tail(RunFolder(self.runs_dir / run.run_id).log_file, TAIL))
            print(f"failed {run.name}: {found[run.run_id].error}{tail}", file=sys.stderr)
        if any(found[run.run_id].state != "done" for run in runs):
            sys.exit(1)

    def _queue_what_left(self, profile: Path, in_vain: _InVain) -> bool:
        """Queue what can go on and is not queued; whether there is anything left to wait for."""
        runs, facts, found = self.look()
        hopeless = _with_dependants(runs, {run.run_id for run in runs if found[run.run_id].state == "failed"})
        plan = decide([run for run in runs if run.run_id not in hopeless], found)
        plan = [decision for decision in plan if decision.action != "blocked"]
        if any(found[decision.run.run_id].state in ("absent", "partial") for decision in plan):
            in_vain.note([d.run for d in plan if d.action == "run"], found)
            self._queue(profile, plan, facts)
        return any(decision.action != "skip" for decision in plan)


class _InVain:
    """Runs whose jobs leave the queue and never start them: they are given up, lest a watch queues them for ever."""

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir
        self._queued: Counter[tuple[str, int]] = Counter()

    def note(self, runs: Sequence[GridRun], found: Mapping[str, Found]) -> None:
        """These runs, whose needs are done, are about to be queued.

        Raises:
            InputError: when one was queued as often as a watch does it without any start.
        """
        for run in runs:
            starts = len(read_history(self._runs_dir / run.run_id))
            self._queued[run.run_id, starts] += 1
            if self._queued[run.run_id, starts] > MAX_IN_VAIN:
                job = found[run.run_id].job
                raise InputError(
                    f"{run.name}: {MAX_IN_VAIN} jobs, the last {job}, left the queue and did not start it; "
                    f"see {self._runs_dir / FOLDER} and the cluster's accounting"
                )


def _with_dependants(runs: Sequence[GridRun], chosen: set[str]) -> set[str]:
    """These runs and all that need them; ``runs`` are in the grid's order, needs first."""
    found = set(chosen)
    for run in runs:
        if not found.isdisjoint(run.needs):
            found.add(run.run_id)
    return found


@dataclass(frozen=True, kw_only=True)
class Logs(_GridCommand):
    """Print the end of a run's log, and how its starts in the queue ended.

    Example: cxr grid logs demo teacher_mimic_d121 --runs-dir runs/demo
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Name or id of the run, or a part that no other has."""
    lines: int = 40
    """Lines to print."""

    def run(self) -> None:
        """Print the log."""
        run = find_one(load_grid(self.grid).runs, self.name)
        folder = RunFolder(self.runs_dir / run.run_id)
        starts = read_history(folder.path)
        for start in starts:
            ending = ": ".join(filter(None, (start["ending"] or "has not ended", start["reason"])))
            print(f"job {start['job']}, restart {start['restart']}, on {start['host']}: {ending}", file=sys.stderr)
        if starts:
            counts = ", ".join(f"{count} {ending}" for ending, count in count_endings(starts).items())
            print(f"{len(starts)} {'start' if len(starts) == 1 else 'starts'}: {counts}", file=sys.stderr)
        path = folder.log_file
        if not path.exists():
            place = queue_if_any(self.runs_dir).places.get(run.run_id)
            path = path if place is None else log_of(self.runs_dir, place)
        if not path.exists():
            raise InputError(f"{run.name}: no log yet; see cxr grid status")
        print(f"{path}:", file=sys.stderr)
        print("\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-self.lines :]))


def find_one(runs: Sequence[GridRun], name: str) -> GridRun:
    """The run of this name or id, or the only one with this in its name.

    Raises:
        InputError: when there is none or more than one.
    """
    exact = [run for run in runs if name in (run.name, run.run_id)]
    found = exact or [run for run in runs if name in run.name]
    if len(found) != 1:
        listed = ", ".join(run.name for run in found[:3]) + (" ..." if len(found) > 3 else "")
        raise InputError(f"run {name!r}: " + (f"several have this in their name: {listed}" if found else "unknown"))
    return found[0]
