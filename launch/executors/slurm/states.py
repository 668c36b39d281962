"""Where queued runs stand: what run folders say and what the queue says come in; one state for each run goes out.

squeue lists what is queued or runs, run folders what became of the rest, so accounting may be off or late.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasets.errors import InputError
from launch.executors.slurm.ending import CANCELLED
from launch.executors.slurm.queue import QueuedJob, read_queue
from launch.executors.slurm.submission import FOLDER, Place, places, read_submissions, with_jobs
from launch.grids.grid import GridRun, needs_first
from launch.plan.decide import ABSENT, Found

TAIL_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """The queue at one moment, and where each run was last put into it."""

    jobs: Mapping[str, QueuedJob] = field(default_factory=dict)
    """What the queue holds, by job id."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """By run id."""

    def job_of(self, run_id: str) -> QueuedJob | None:
        """The job in the queue that holds this run."""
        place = self.places.get(run_id)
        return None if place is None or place.job is None else self.jobs.get(place.job)


def look_at_queue(runs_dir: Path) -> QueueView:
    """One squeue call; none when nothing of this folder was ever queued. To be asked before the run folders are read.

    Raises:
        InputError: when the queue does not answer.
    """
    submissions = read_submissions(runs_dir)
    if not submissions:
        return QueueView()
    jobs = read_queue()
    numbers = {job.name: job.number for job in jobs.values()}
    return QueueView(jobs=jobs, places=places(with_jobs(submissions, numbers)))


def queue_if_any(runs_dir: Path) -> QueueView:
    """The queue, or none with a warning when it does not answer: run folders alone then tell the states."""
    try:
        return look_at_queue(runs_dir)
    except InputError as error:
        print(f"warning: {error}; states come from the run folders alone", file=sys.stderr)
        return QueueView()


def with_queue(
    runs: Sequence[GridRun], found: Mapping[str, Found], view: QueueView, runs_dir: Path
) -> dict[str, Found]:
    """The states of ``found``, put right by the queue; needs are judged before the runs that need them."""
    merged = dict(found)
    names = {run.run_id: run.name for run in runs}
    for run in needs_first(runs):
        place = view.places.get(run.run_id)
        if place is None:
            continue
        state = replace(found.get(run.run_id, ABSENT), job=place.job)
        job = view.job_of(run.run_id)
        merged[run.run_id] = _queued(state, job, place) if job else _gone(run, state, merged, names, place, runs_dir)
    return merged


def _queued(state: Found, job: QueuedJob, place: Place) -> Found:
    """A run whose job the queue holds."""
    if state.state in ("done", "stale"):
        return state
    if job.is_pending:
        return replace(state, state="queued", waits_for=job.reason)
    shares_job = len(place.submission.tasks[place.task]) > 1
    if state.state == "failed" and (shares_job or job.state == "COMPLETING"):
        return state
    return replace(state, state="running", error=None)


def _gone(
    run: GridRun, state: Found, merged: Mapping[str, Found], names: Mapping[str, str], place: Place, runs_dir: Path
) -> Found:
    """A run whose job has left the queue: what its folder says, less a status that nobody was left to take back."""
    if state.state == "running" and state.host is not None:
        state = replace(state, state="partial", host=None)
    if state.state not in ("absent", "partial"):
        return state
    failed = [need for need in run.needs if merged.get(need, ABSENT).state == "failed"]
    if failed:
        return replace(state, state="failed", error=f"needs {names.get(failed[0], failed[0])}, which failed")
    if state.state == "absent":
        words = first_words(runs_dir, place)
        if words:
            return replace(state, state="failed", error=f"job {place.job} did not start it: {words}")
    return state


def log_of(runs_dir: Path, place: Place) -> Path:
    """What the job printed itself; the training's own output is in the run's log."""
    folder = runs_dir / FOLDER / place.submission.name
    return folder / f"{place.job}_0_log.out"


def first_words(runs_dir: Path, place: Place) -> str:
    """Last line of what the job printed itself; nothing when it never started, or SLURM ended it from outside."""
    try:
        text = log_of(runs_dir, place).read_text(encoding="utf-8", errors="replace")[-TAIL_BYTES:]
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines and not CANCELLED.search(text) else ""
