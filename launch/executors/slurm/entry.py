"""The callable that a job runs on its node, in every process of it: start the trainings and see them to their end.

SIGUSR2 says that the time limit or a preemption is near, SIGTERM that the job is being ended, now or after a grace
time. Either is passed on to the trainings as SIGINT, on which they save; then a job that SLURM has not taken out of
the queue puts itself back into it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

from datasets.errors import InputError
from datasets.logging_setup import set_up_logging
from launch.executors.base import QueueError, UnreachableError
from launch.executors.commands import ask
from launch.executors.mps import mps_daemon, uuids
from launch.executors.placement import Placement, cores_near, neighbours_together, share_out, visible_gpus
from launch.executors.signals import StopSignals, caught_signals
from launch.executors.slurm.ending import Ending, ending_of, log_since, log_size
from launch.executors.slurm.environment import JobStart, adopt_srun_ranks
from launch.executors.slurm.queue import job_record
from launch.executors.slurm.worker import POLL_S, Job, RunWorker

ASK_S = 10.0
REQUEUE_TRIES = 3
REQUEUE_PAUSE_S = 5.0
"""Time between two of them. scontrol itself waits 11 s for a controller that is down, so they outlast a restart."""
REQUEUE_WAIT_S = 90.0
RANK_WAIT_S = 15.0
"""Time that the first process gets to fail by itself and say why, before a failed one pulls it down."""
NOT_QUEUED_AGAIN = "could not be queued again"
NO_REQUEUE = "the profile forbids it by no-requeue"
TERMINATED = 128 + signal.SIGTERM

logger = logging.getLogger(__name__)


class JobFailedError(RuntimeError):
    """A run of the job failed for good."""


@dataclass(frozen=True)
class JobEntry:
    """What submitit pickles at submission, and calls in each process of the job."""

    job: Job

    def __call__(self) -> list[str]:
        """Run the job; see ``run_job``."""
        set_up_logging()
        logging.getLogger("submitit").propagate = False  # it has a handler of its own
        return run_job(self.job)

    def checkpoint(self) -> Any:
        """Return the same job, for submitit when a signal comes before ``run_job`` catches it; state is on disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run_job(job: Job) -> list[str]:
    """Start the job's runs, wait for them, and return the names of those that were done.

    Raises:
        JobFailedError: when a run failed for good, or lacks what it needs.
        SystemExit: when the job is being ended.
    """
    started, start, log_start = time.time(), JobStart.here(), log_size()
    # In place of submitit's handlers, which ignore SIGTERM and queue the job again while its runs still save.
    with caught_signals((signal.SIGTERM, signal.SIGUSR2)) as signals:
        if start.num_tasks != job.num_ranks:
            asked = f"the cluster profile asks for {job.num_ranks}"
            raise JobFailedError(f"SLURM started {start.num_tasks} processes; {asked}")
        adopt_srun_ranks(os.environ)
        _remove_torn_results()
        find_cause = partial(_find_cause, job, signals, log_start, started)
        with placements(job) as places:
            workers = [RunWorker(job, run, start, place) for run, place in zip(job.runs, places, strict=True)]
            try:
                for worker in workers:
                    worker.begin(signals)
                announced = _wait_for(workers, signals, find_cause)
            finally:
                for worker in workers:
                    worker.close()
        if signals.number is not None and any(worker.stopped for worker in workers):
            known = announced is not None and announced[0] == signals.number
            _end_stopped_job(job, workers, announced[1] if announced and known else find_cause(), signals)
        if any(worker.wants_requeue for worker in workers):
            logger.info("all processes have to start anew, by a job that is queued again")
            _go_back(job, signals, as_first=True)
    failures = [f"{worker.run.name}: {worker.failure}" for worker in workers if worker.failure]
    if failures:
        if start.rank:
            time.sleep(RANK_WAIT_S)
        raise JobFailedError("; ".join(failures))
    return [worker.run.name for worker in workers]


@contextmanager
def placements(job: Job) -> Iterator[list[Placement]]:
    """Where each of a job's runs computes; a lone one has all that the job has.

    Raises:
        JobFailedError: when the job sees fewer GPUs than it asked for, or has to do without MPS.
    """
    if len(job.runs) == 1:
        yield [Placement()]
        return
    gpus = list(visible_gpus(os.environ))[: job.gpus] if job.gpus > 1 or job.mps else []
    if len(gpus) < job.gpus and (job.gpus > 1 or job.mps):
        raise JobFailedError(f"the job sees {len(gpus)} of the {job.gpus} GPUs that the cluster profile asks for")
    cores = neighbours_together(os.sched_getaffinity(0))
    if len(cores) > int(os.environ.get("SLURM_CPUS_ON_NODE", len(cores))):
        cores = []  # SLURM binds no job to its cores here: ours would be those of other jobs too
    with ExitStack() as stack:
        try:
            names = uuids(gpus) if job.mps else gpus
            mps = stack.enter_context(mps_daemon(names)) if job.mps else {}
        except InputError as error:
            raise JobFailedError(str(error)) from None
        places = share_out(len(job.runs), names, cores, {gpu: cores_near(gpu) for gpu in names})
        yield [replace(place, mps=mps) for place in places]


def _remove_torn_results() -> None:
    """Remove what a start that was killed while writing left behind: submitit would fail over it at the very end."""
    if "SUBMITIT_FOLDER" not in os.environ:
        return
    from submitit import JobEnvironment

    paths = JobEnvironment().paths
    for path in (paths.result_pickle, paths.submitted_pickle):
        path.with_name(f"{path.name}.save_tmp").unlink(missing_ok=True)


def _wait_for(
    workers: Sequence[RunWorker], signals: StopSignals, find_cause: Callable[[], Ending]
) -> tuple[int, Ending] | None:
    """Wait for the trainings, passing a stop on to them; return the first signal and its cause, if one came."""
    announced: tuple[int, Ending] | None = None
    while any(worker.process is not None for worker in workers):
        if signals.number is not None and announced is None:
            for worker in workers:
                worker.interrupt()
            announced = (signals.number, find_cause())
            for worker in workers:
                worker.announce(announced[1].name)
        for worker in workers:
            worker.poll(signals)
        time.sleep(POLL_S)
    return announced


def _find_cause(job: Job, signals: StopSignals, log_start: int | None, started: float) -> Ending:
    assert signals.number is not None
    return ending_of(
        signals.number,
        log_since(log_start),
        job_record(JobStart.here().job, timeout_s=ASK_S),
        elapsed_s=time.time() - started,
        time_min=job.time_min,
        signal_delay_s=job.signal_delay_s,
    )


def _end_stopped_job(job: Job, workers: Sequence[RunWorker], ending: Ending, signals: StopSignals) -> None:
    """End a job whose runs were stopped; its first process puts it back into the queue where SLURM does not."""
    stopped = [worker for worker in workers if worker.stopped]
    for worker in stopped:
        worker.record_ending(ending.name)
    if not ending.goes_back:
        sys.exit(TERMINATED)
    is_first = stopped[0].rank == 0
    if is_first:
        _refuse_endless_restarts(job, stopped, ending.name)
    _go_back(job, signals, as_first=is_first)


def _go_back(job: Job, signals: StopSignals, *, as_first: bool) -> NoReturn:
    """Let the first process queue the job again, and wait until SLURM ends this one: leaving would end the job."""
    before = signals.count  # SLURM may end the job before it answers
    if as_first:
        try:
            if not job.requeues:
                raise UnreachableError(NO_REQUEUE)
            _requeue(JobStart.here().job)
        except UnreachableError as error:
            raise JobFailedError(f"{NOT_QUEUED_AGAIN} ({error}); cxr grid submit goes on with it") from None
    deadline = time.monotonic() + REQUEUE_WAIT_S
    while signals.count == before and time.monotonic() < deadline:
        time.sleep(POLL_S)
    sys.exit(TERMINATED)


def _requeue(job: str) -> None:
    """Put the job back into the queue; a controller that is busy or restarts is asked again.

    Raises:
        UnreachableError: with the last refusal.
    """
    for left in reversed(range(REQUEUE_TRIES)):
        try:
            ask("scontrol", "requeue", job, timeout_s=60.0)
            return
        except QueueError as error:
            if left == 0:
                raise
            logger.warning("%s; asking again in %.0f s", error, REQUEUE_PAUSE_S)
            time.sleep(REQUEUE_PAUSE_S)


def _refuse_endless_restarts(job: Job, stopped: Sequence[RunWorker], ending: str) -> None:
    restarts = max(worker.history.interruptions() for worker in stopped)
    if restarts > job.max_restarts:
        reason = f"stopped after {restarts - 1} restarts, the last for: {ending}; see max_restarts in the profile"
        for worker in stopped:
            worker.fail(reason)
        raise JobFailedError(reason)
