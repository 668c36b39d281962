"""Correct the states of run folders by what the queue says.

squeue lists what is queued or runs, run folders what became of the rest, so accounting may be off or late.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from launch.executors.reconcile import read_cancelled
from launch.executors.slurm.ending import CANCELLED, NEVER_BEGAN
from launch.executors.slurm.queue import PENDING, QueuedJob, read_queue, recorded_failures
from launch.executors.slurm.submission import Place, places, read_submissions
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
    cancelled: Set[str] = frozenset()
    """Ids of runs that a person took out of the queue."""

    @classmethod
    def read(cls, folder: Path) -> QueueView:
        """Ask squeue once, or not at all when nothing of this folder was ever queued.

        Raises:
            UnreachableError: when the queue does not answer.
        """
        submissions, cancelled = read_submissions(folder), read_cancelled(folder)
        if not submissions:
            return cls(folder=folder, cancelled=cancelled)
        jobs = read_queue()
        numbers = {job.name: job.job.partition("_")[0] for job in jobs.values()}
        return cls(folder=folder, jobs=jobs, places=places(submissions, numbers), cancelled=cancelled)

    def job_of(self, run_id: str) -> QueuedJob | None:
        """Return the job in the queue that holds this run."""
        place = self.places.get(run_id)
        return None if place is None else self.jobs.get(place.job)

    def throttled(self) -> dict[str, set[str]]:
        """Return the arrays in the queue whose number of running jobs is limited together, by partition."""
        found: dict[str, set[str]] = defaultdict(set)
        for place in self.places.values():
            if place.throttled is not None and place.job in self.jobs:
                found[place.throttled].add(place.job.partition("_")[0])
        return found

    def log_of(self, place: Place) -> Path:
        """Return the file of what the job printed itself; the training's own output is in the run's log."""
        return self.folder / place.name / f"{place.job}_0_log.out"

    def corrected(self, runs: Sequence[GridRun], found: Mapping[str, RunState]) -> dict[str, RunState]:
        """Return the states of ``found``, corrected by the queue; needs are judged before the runs that need them."""
        names = {run.run_id: run.name for run in runs}
        others = {run_id: self.job_of(run_id) for run_id in self.places if run_id not in names}
        merged = {**found, **{run_id: _held(ABSENT, job) for run_id, job in others.items() if job is not None}}
        recorded = recorded_failures(list(self._without_a_trace(runs, found)))
        for run in needs_first(runs):
            state, place, job = found.get(run.run_id, ABSENT), self.places.get(run.run_id), self.job_of(run.run_id)
            if place is not None and job is not None:
                merged[run.run_id] = _held(state, job, shares_job=place.is_shared)
                continue
            if place is not None:
                failed = [names.get(need, need) for need in run.needs if merged.get(need, ABSENT).state == "failed"]
                state = self._left(replace(state, job=place.job), place, failed, recorded)
            if run.run_id in self.cancelled and state.state in ("absent", "partial"):
                state = replace(state, state="cancelled")
            merged[run.run_id] = state
        return merged

    def _without_a_trace(self, runs: Sequence[GridRun], found: Mapping[str, RunState]) -> Iterator[str]:
        """Yield jobs that left the queue and wrote nothing, as on nodes that do not see the folder of runs."""
        for run in runs:
            place = self.places.get(run.run_id)
            if place is None or place.job in self.jobs or run.run_id in self.cancelled:
                continue
            if found.get(run.run_id, ABSENT).state == "absent" and not self.log_of(place).exists():
                yield place.job

    def _left(
        self, state: RunState, place: Place, failed_needs: Sequence[str], recorded: Mapping[str, str]
    ) -> RunState:
        """Return the state of a run whose job has left the queue: its folder's, unless a dead node wrote that."""
        if state.state == "running" and state.host is not None:
            state = replace(state, state="partial", host=None)
        if state.state not in ("absent", "partial"):
            return state
        if failed_needs:
            return replace(state, state="failed", error=f"needs {failed_needs[0]}, which failed")
        words = self._last_words(place, began=state.state == "partial")
        if place.job in recorded:
            words = f"{recorded[place.job]}, and it left no log; do the nodes see {self.folder.parent}?"
        return replace(state, state="failed", error=f"job {place.job} did not start it: {words}") if words else state

    def _last_words(self, place: Place, *, began: bool) -> str:
        """Return why a job failed by itself: what kept it from starting anything, else its last line.

        None when it was ended from outside, and of a run that ``began`` before.
        """
        try:
            text = self.log_of(place).read_text(encoding="utf-8", errors="replace")[-TAIL_BYTES:]
        except OSError:
            return ""
        never_began = NEVER_BEGAN.findall(text)
        if never_began:
            return str(never_began[-1]).strip()
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines and not (began or CANCELLED.search(text) or ENDED_WELL in text) else ""


def _held(state: RunState, job: QueuedJob, *, shares_job: bool = False) -> RunState:
    """Return the state of a run whose job the queue holds."""
    state = replace(state, job=job.job)
    if state.state in ("done", "stale", "damaged"):
        return state
    if job.state in PENDING:
        return replace(state, state="queued", waits_for=job.waits_for)
    if job.state in ("SUSPENDED", "STOPPED"):
        return replace(state, state="queued", waits_for=f"{job.state.lower()} on {job.node}")
    if state.state == "failed" and (shares_job or job.state == "COMPLETING"):
        return state
    return replace(state, state="running", error=None)
