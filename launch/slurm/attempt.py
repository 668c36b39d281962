"""One start of a job on a node: a ``Job`` comes in; finished runs, or the job back in the queue, go out.

SIGUSR2 says that the time limit or a preemption is near, SIGTERM that the job is being ended. Either is passed on
to the trainings as SIGINT, on which they save; after SIGUSR2 the job then puts itself back into the queue.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from launch.prepare import record_failure
from launch.slurm.job import Job
from launch.slurm.worker import POLL_S, Stop, Worker, slurm_job_id

REQUEUE_WAIT_S = 90.0
RANK_WAIT_S = 15.0
"""Time that the first process gets to fail by itself and say why, before a failed one pulls it down."""
EARLY_S = 90.0
"""SLURM sends the signal up to a minute early."""
TERMINATED = 128 + signal.SIGTERM


class JobFailedError(RuntimeError):
    """A run of the job failed for good."""


def carry_out(job: Job) -> list[str]:
    """Start the job's runs, wait for them, and say which were done.

    Raises:
        JobFailedError: when a run failed for good, or lacks what it needs.
        SystemExit: when the job is being ended.
    """
    started, stop = time.time(), Stop()
    with stop.listening():
        rank = _join(job)
        workers = [Worker(job, run, rank, number) for number, run in enumerate(job.runs)]
        try:
            for worker in workers:
                worker.begin(stop)
            _see_through(workers, stop)
        finally:
            for worker in workers:
                worker.close()
        endings = {worker.run.name: worker.failure for worker in workers if worker.failure}
        if stop.number is not None and any(worker.stopped for worker in workers):
            _leave(job, workers, stop, rank, started)
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


def _see_through(workers: list[Worker], stop: Stop) -> None:
    told = False
    while any(worker.process is not None for worker in workers):
        if stop.number is not None and not told:
            told = True
            for worker in workers:
                worker.end()
        for worker in workers:
            worker.look(stop)
        time.sleep(POLL_S)


def _leave(job: Job, workers: list[Worker], stop: Stop, rank: int, started: float) -> None:
    """End a job whose runs were stopped; after SIGUSR2 it is first put back into the queue, by its first process."""
    near_limit = time.time() - started >= 60 * job.time_min - job.signal_delay_s - EARLY_S
    ending = "time limit" if near_limit else "preempted" if stop.number == signal.SIGUSR2 else "terminated"
    for worker in workers:
        if worker.stopped:
            worker.note_ending(ending)
    if stop.number == signal.SIGUSR2:
        if rank == 0:
            _requeue(job, workers, ending)
        time.sleep(REQUEUE_WAIT_S)  # SLURM ends this process, now that the job is queued again
    sys.exit(TERMINATED)


def _requeue(job: Job, workers: list[Worker], ending: str) -> None:
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if restarts >= job.max_restarts:
        reason = f"stopped after {restarts} restarts, the last for: {ending}; see max_restarts in the cluster profile"
        for worker in workers:
            if worker.stopped:
                record_failure(worker.folder, reason)
        raise JobFailedError(reason)
    try:
        done = subprocess.run(
            ["scontrol", "requeue", slurm_job_id()], capture_output=True, text=True, timeout=60, check=False
        )
        words = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        words = str(error)
    if words:
        raise JobFailedError(f"could not be queued again ({words}); cxr grid submit goes on with it")
