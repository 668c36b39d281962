"""One start of a job on a node: a ``Job`` comes in; finished runs, or the job back in the queue, go out.

SIGUSR2 says that the time limit or a preemption is near, SIGTERM that the job is being ended, now or after a grace
time. Either is passed on to the trainings as SIGINT, on which they save; then a job that SLURM has not taken out of
the queue puts itself back into it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from launch.executors.slurm.ending import Ending, OwnLog, ask_controller, ending_of
from launch.executors.slurm.job import Job
from launch.executors.slurm.worker import POLL_S, Stop, Worker, slurm_job_id

REQUEUE_WAIT_S = 90.0
RANK_WAIT_S = 15.0
"""Time that the first process gets to fail by itself and say why, before a failed one pulls it down."""
TERMINATED = 128 + signal.SIGTERM


class JobFailedError(RuntimeError):
    """A run of the job failed for good."""


def carry_out(job: Job) -> list[str]:
    """Start the job's runs, wait for them, and say which were done.

    Raises:
        JobFailedError: when a run failed for good, or lacks what it needs.
        SystemExit: when the job is being ended.
    """
    started, stop, log = time.time(), Stop(), OwnLog()
    with stop.listening():
        rank = _join(job)
        _forget_torn_results()
        why = partial(_why, job, stop, log, started)
        workers = [Worker(job, run, rank, number) for number, run in enumerate(job.runs)]
        try:
            for worker in workers:
                worker.begin(stop)
            told = _see_through(workers, stop, why)
        finally:
            for worker in workers:
                worker.close()
        endings = {worker.run.name: worker.failure for worker in workers if worker.failure}
        if stop.number is not None and any(worker.stopped for worker in workers):
            ending = told[1] if told is not None and told[0] == stop.number else why()
            _leave(job, workers, ending, rank, stop)
        if any(worker.wants_requeue for worker in workers):
            print("the job is queued again, to start all processes anew", file=sys.stderr, flush=True)
            _requeue()
            _await_end(stop)
            sys.exit(TERMINATED)
    if endings:
        if rank:
            time.sleep(RANK_WAIT_S)
        raise JobFailedError("; ".join(f"{name}: {reason}" for name, reason in endings.items()))
    return [worker.run.name for worker in workers]


def _join(job: Job) -> int:
    """Rank of this process; a run over several is told of them as torch expects it."""
    ranks = int(os.environ.get("SLURM_NTASKS", "1"))
    if ranks != job.num_ranks:
        raise JobFailedError(f"SLURM started {ranks} processes; the cluster profile asks for {job.num_ranks}")
    if ranks > 1:
        from submitit.helpers import TorchDistributedEnvironment

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    return int(os.environ.get("SLURM_PROCID", "0"))


def _forget_torn_results() -> None:
    """Remove what a start that was killed while writing left behind: submitit would fail over it at the very end."""
    if "SUBMITIT_FOLDER" not in os.environ:
        return
    from submitit import JobEnvironment

    paths = JobEnvironment().paths
    for path in (paths.result_pickle, paths.submitted_pickle):
        path.with_name(f"{path.name}.save_tmp").unlink(missing_ok=True)


def _see_through(workers: list[Worker], stop: Stop, why: Callable[[], Ending]) -> tuple[int, Ending] | None:
    """Wait for the trainings; a signal is passed on to them. The first signal and what it meant, if one came."""
    told: tuple[int, Ending] | None = None
    while any(worker.process is not None for worker in workers):
        if stop.number is not None and told is None:
            for worker in workers:
                worker.end()
            told = (stop.number, why())
            for worker in workers:
                worker.tell(told[1].name)
        for worker in workers:
            worker.look(stop)
        time.sleep(POLL_S)
    return told


def _why(job: Job, stop: Stop, log: OwnLog, started: float) -> Ending:
    assert stop.number is not None
    return ending_of(
        stop.number,
        log.read(),
        ask_controller(slurm_job_id()),
        elapsed_s=time.time() - started,
        time_min=job.time_min,
        signal_delay_s=job.signal_delay_s,
    )


def _leave(job: Job, workers: list[Worker], ending: Ending, rank: int, stop: Stop) -> None:
    """End a job whose runs were stopped; its first process puts it back into the queue where SLURM does not."""
    for worker in workers:
        if worker.stopped:
            worker.note_ending(ending.name)
    if ending.goes_back:
        if rank == 0:
            _refuse_endless_restarts(job, workers, ending.name)
            _requeue()
        _await_end(stop)
    sys.exit(TERMINATED)


def _await_end(stop: Stop) -> None:
    """Until SLURM ends this process, now that the job is queued again: one that left by itself would end the job."""
    told, deadline = stop.count, time.monotonic() + REQUEUE_WAIT_S
    while stop.count == told and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _refuse_endless_restarts(job: Job, workers: list[Worker], ending: str) -> None:
    stopped = [worker for worker in workers if worker.stopped]
    restarts = max(worker.history.interruptions() for worker in stopped)
    if restarts > job.max_restarts:
        reason = f"stopped after {restarts - 1} restarts, the last for: {ending}; see max_restarts in the profile"
        for worker in stopped:
            worker.fail(reason)
        raise JobFailedError(reason)


def _requeue() -> None:
    """Put this job back into the queue."""
    try:
        done = subprocess.run(
            ["scontrol", "requeue", slurm_job_id()], capture_output=True, text=True, timeout=60, check=False
        )
        words = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        words = str(error)
    if words:
        raise JobFailedError(f"could not be queued again ({words}); cxr grid submit goes on with it")
