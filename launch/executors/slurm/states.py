"""Correct the states of run folders by what the queue says.

squeue lists what is queued or runs, run folders what became of the rest, so accounting may be off or late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from launch.executors.slurm.ending import CANCELLED
from launch.executors.slurm.queue import QueuedJob, read_queue
from launch.executors.slurm.submission import Place, places, read_submissions, with_jobs
from launch.grids.grid import GridRun, needs_first
from launch.plan.run_state import ABSENT, RunState

TAIL_BYTES = 4096
ENDED_WELL = "Job completed successfully"
"""What submitit prints last; a run that is absent all the same was done, and its folder deleted since."""


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """The queue at one moment, and where each run was last put into it."""

    folder: Path
    """Where submissions and the jobs' own output lie."""
    jobs: Mapping[str, QueuedJob] = field(default_factory=dict)
    """What the queue holds, by job id."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """By run id."""

    @classmethod
    def read(cls, folder: Path) -> QueueView:
        """Ask squeue once, or not at all when nothing of this folder was ever queued.

        Raises:
            UnreachableError: when the queue does not answer.
        """
        submissions = read_submissions(folder)
        if not submissions:
            return cls(folder=folder)
        jobs = read_queue()
        numbers = {job.name: job.number for job in jobs.values()}
        return cls(folder=folder, jobs=jobs, places=places(with_jobs(submissions, numbers)))

    def job_of(self, run_id: str) -> QueuedJob | None:
        """Return the job in the queue that holds this run."""
        place = self.places.get(run_id)
        return None if place is None or place.job is None else self.jobs.get(place.job)

    def log_of(self, place: Place) -> Path:
        """Return the file of what the job printed itself; the training's own output is in the run's log."""
        return self.folder / place.submission.name / f"{place.job}_0_log.out"

    def corrected(self, runs: Sequence[GridRun], found: Mapping[str, RunState]) -> dict[str, RunState]:
        """Return the states of ``found``, corrected by the queue; needs are judged before the runs that need them."""
        merged = dict(found)
        names = {run.run_id: run.name for run in runs}
        for run in needs_first(runs):
            place = self.places.get(run.run_id)
            if place is None:
                continue
            state = replace(found.get(run.run_id, ABSENT), job=place.job)
            job = self.job_of(run.run_id)
            if job is not None:
                merged[run.run_id] = _held(state, job, shares_job=len(place.submission.tasks[place.task]) > 1)
                continue
            failed = [need for need in run.needs if merged.get(need, ABSENT).state == "failed"]
            merged[run.run_id] = self._left(state, place, names.get(failed[0], failed[0]) if failed else None)
        return merged

    def _left(self, state: RunState, place: Place, failed_need: str | None) -> RunState:
        """Return the state of a run whose job has left the queue: its folder's, unless a dead node wrote that."""
        if state.state == "running" and state.host is not None:
            state = replace(state, state="partial", host=None)
        if state.state not in ("absent", "partial"):
            return state
        if failed_need is not None:
            return replace(state, state="failed", error=f"needs {failed_need}, which failed")
        words = self._last_words(place) if state.state == "absent" else ""
        return replace(state, state="failed", error=f"job {place.job} did not start it: {words}") if words else state

    def _last_words(self, place: Place) -> str:
        """Return the last line of a job that failed by itself; none when it was ended from outside or never began."""
        try:
            text = self.log_of(place).read_text(encoding="utf-8", errors="replace")[-TAIL_BYTES:]
        except OSError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines and not CANCELLED.search(text) and ENDED_WELL not in text else ""


def _held(state: RunState, job: QueuedJob, *, shares_job: bool) -> RunState:
    """Return the state of a run whose job the queue holds."""
    if state.state in ("done", "stale"):
        return state
    if job.is_pending:
        return replace(state, state="queued", waits_for=job.reason)
    if state.state == "failed" and (shares_job or job.state == "COMPLETING"):
        return state
    return replace(state, state="running", error=None)
