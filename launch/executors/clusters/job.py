"""What a job of such a queue runs on its node: the training of one run, seen to its end.

The training is told to save before the time limit, by this process's own clock, and on the scheduler's SIGTERM. The
job then ends with ``GO_ON``, on which the queue starts it again where it can do that.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

from datasets.logging_setup import set_up_logging
from harness.runs.folder import RunFolder
from launch.executors.clusters.queued import QueuedRun
from launch.executors.placement import Placement
from launch.executors.reconcile import read_cancelled
from launch.executors.signals import caught_signals
from launch.executors.slurm.environment import JobStart
from launch.executors.slurm.worker import POLL_S, RunWorker
from launch.plan.history import read_history

GO_ON = 85
"""Exit status of a job whose run was interrupted and can go on."""
FAILED = 1
CANCELLED = 128 + signal.SIGTERM


class _Worker(RunWorker):
    """Stops its training by SIGUSR2: LSF sends SIGINT and SIGTERM to all processes of a job."""

    ignored = "TERM INT"
    stop_signal = signal.SIGUSR2


def run_job(record: Path) -> int:
    """Start the record's run, wait for it, and return the job's exit status: 0 once it is done."""
    started = float(os.environ.get("CXR_STARTED", time.time()))
    queued = QueuedRun.read(record)
    work, run = queued.work, queued.work.runs[0]
    if _is_cancelled(record.parent, queued):
        return CANCELLED
    worker = _Worker(work, run, _start(run.folder), Placement())
    last_s = started + 60 * work.time_min - work.signal_delay_s
    with caught_signals((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)) as signals:
        ending: str | None = None
        try:
            worker.begin(signals)
            while worker.process is not None:
                if ending is None and time.time() > last_s:
                    signals.note(signal.SIGUSR2, None)
                if ending is None and signals.number is not None:
                    cancelled = _is_cancelled(record.parent, queued)
                    ending = "cancelled" if cancelled else "time limit" if time.time() > last_s else "terminated"
                    worker.interrupt()
                    worker.announce(ending)
                worker.poll(signals)
                time.sleep(POLL_S)
            return _conclude(worker, ending or "terminated")
        finally:
            worker.close()


def _conclude(worker: RunWorker, ending: str) -> int:
    """Record how this start ended; return the job's exit status."""
    if worker.stopped:
        worker.record_ending(ending)
        restarts = worker.history.interruptions()
        if ending == "cancelled":
            return CANCELLED
        if restarts <= worker.job.max_restarts:
            return GO_ON
        worker.fail(f"stopped after {restarts - 1} restarts, the last for: {ending}; see max_restarts in the profile")
    return FAILED if worker.failure else 0


def _start(folder: str) -> JobStart:
    """Describe this start of the job; one that the history knows with the same job was queued again."""
    job = os.environ.get("CXR_JOB", "")
    restart = sum(start["job"] == job for start in read_history(RunFolder(Path(folder)).path))
    return JobStart(job=job, num_tasks=1, rank=0, restart=restart, node=socket.gethostname())


def _is_cancelled(folder: Path, queued: QueuedRun) -> bool:
    return queued.run_id in read_cancelled(folder)


def main(arguments: list[str]) -> int:
    """Run the job of the record that is named."""
    set_up_logging()
    return run_job(Path(arguments[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
