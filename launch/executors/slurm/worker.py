"""A job as plain data, and its worker: start, watch and stop the training of one run within the job."""

from __future__ import annotations

import logging
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.runs.folder import RunFolder
from harness.runs.lock import RunLock
from launch.executors.hook import Hook
from launch.executors.mps import is_fault
from launch.executors.placement import Placement
from launch.executors.prepare import clear_failure, record_failure, write_config
from launch.executors.process import RunProcess, explain_exit, log_tail
from launch.executors.signals import StopSignals
from launch.executors.slurm.environment import JobStart
from launch.plan.history import History, read_history

POLL_S = 0.2
LOCK_WAIT_S = 900.0
"""Time that a run's earlier process gets to be gone: on a node that SLURM has lost it may still compute."""
MAX_STARTS = 10
"""Starts within one job, should a run fail in another way each time."""
BAD_INPUT = 2
TAIL_LINES = 12

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """One run of a job."""

    name: str
    folder: str
    """The run's folder, absolute."""
    arguments: tuple[str, ...]
    """What follows the Python interpreter in the command of the run."""
    needs: tuple[tuple[str, str], ...]
    """Name and folder of each run that must be done first."""
    config: str | None = None
    """What ``config_text`` says of the run, of which the job makes config.json; None where that is written before."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Runs that share the job's GPUs, or one run over all its processes.

    It is recorded at submission. How far a run got is read from its folder at every start.
    """

    runs: tuple[JobRun, ...]
    num_ranks: int
    """Processes that the job must have."""
    time_min: int
    signal_delay_s: int
    max_tries: int
    max_restarts: int
    grid: str = ""
    on_end: str | None = None
    """Shell line that is started when a run is done or has failed."""
    gpus: int = 1
    """GPUs of the job; where there are several, each of several runs sees one of them."""
    mps: bool = False
    """Whether runs share GPUs by the Multi-Process Service."""
    requeues: bool = True
    """Whether the job may be queued again."""


class RunWorker:
    """This process's part of one run: the training that it started, and what became of it."""

    ignored: ClassVar[str] = "TERM USR2"
    """What SLURM sends to all processes of a job step, and a training therefore ignores. The job passes a stop on
    once, by ``stop_signal``: a training that is signalled twice ends at once instead of saving."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(self, job: Job, run: JobRun, start: JobStart, placement: Placement) -> None:
        self.job, self.run, self.rank, self.placement = job, run, start.rank, placement
        self.folder = RunFolder(Path(run.folder))
        self.process: RunProcess | None = None
        self.failure: str | None = None
        self.stopped = False
        self.wants_requeue = False
        """Whether a run over several processes, which failed, may be tried again by a job that starts anew."""
        self.history = History(self.folder.path, owner=self.rank == 0)
        self._job_start = start
        self._num_starts = 0
        self._lock: RunLock | None = None
        self._hook: Hook | None = None
        self._own = self.folder if self.rank == 0 else RunFolder(self.folder.path / "ranks" / str(self.rank))
        """Folder of this process's lock, log and failure."""
        self._failure_file = self._own.path / "failure.txt"

    def begin(self, signals: StopSignals) -> None:
        """Start the training, unless the run is done or lacks what it needs."""
        if self._is_done():
            return
        if self.run.config is not None:
            write_config(self.folder, self.run.config)
        missing = [name for name, folder in self.run.needs if not RunFolder(Path(folder)).result_file.exists()]
        if missing:
            self.fail(f"needs {missing[0]}, which is not done")
            return
        self._lock = self._take_lock(signals)
        if self._lock is None:  # nothing is written: the run's files belong to the process that computes it
            self.stopped = signals.number is not None
            self.failure = None if self.stopped else "another process computes this run"
        elif not self._is_done():  # by the process that held the lock
            self._failure_file.unlink(missing_ok=True)
            self._record_start()
            hopeless = self._hopeless()
            if hopeless is None:
                self._start(self._lock)
            else:
                self.fail(hopeless)

    def interrupt(self) -> None:
        """Ask the training to save and stop."""
        if self.process is not None and self.process.process.poll() is None:
            self.process.process.send_signal(self.stop_signal)

    def announce(self, ending: str) -> None:
        """Record why the training is being stopped."""
        if self._lock is not None:
            self.history.announce(ending)

    def record_ending(self, ending: str) -> None:
        """Record how this start ended."""
        if self._lock is not None:
            self.history.end(ending)

    def poll(self, signals: StopSignals) -> None:
        """Notice that the training ended; start it again when it failed by itself and may be tried again."""
        status = None if self.process is None else self.process.poll()
        if self.process is None or status is None:
            return
        process, self.process = self.process, None
        if self.folder.result_file.exists() if self.rank == 0 else status == 0:
            self.record_ending("done")
            self._tell("done")
        elif signals.number is not None:
            self.stopped = True
            self._blame_ranks()
        else:
            self._try_again_or_fail(process, status)

    def fail(self, reason: str) -> None:
        """Record that the run has failed for good, or is not to be started again without a person."""
        self.failure = reason
        if self.rank == 0:
            record_failure(self.folder, reason)
            self.history.give_up(reason)
            self._tell("failed", reason)
        else:
            self._failure_file.write_text(reason, encoding="utf-8")

    def close(self) -> None:
        """Leave no process behind and release the run."""
        if self.process is not None:
            self.process.signal(signal.SIGKILL)
            self.process.process.wait()
        if self._lock is not None:
            self._lock.release()
        if self._hook is not None:
            self._hook.close()

    def _tell(self, state: str, error: str = "") -> None:
        """Start the profile's hook, in the run's first process."""
        if self.job.on_end is not None and self.rank == 0:
            about = {"name": self.run.name, "state": state, "error": error, "grid": self.job.grid}
            self._hook = Hook(self.job.on_end, self.folder.path, **about, job=self._job_start.job)

    def _is_done(self) -> bool:
        return self.rank == 0 and self.folder.result_file.exists()

    def _record_start(self) -> None:
        self.history.start(self._job_start.job, restart=self._job_start.restart, host=self._job_start.node)

    def _try_again_or_fail(self, process: RunProcess, status: int) -> None:
        tail = log_tail(process.log, TAIL_LINES, process.log_start)
        reason = self._said() or explain_exit(status, tail)
        if self.placement.mps and is_fault(reason):
            reason += " (through its own fault, or that of a run that shares its GPU by MPS)"
        self._show(reason, process.log, tail)
        if status == BAD_INPUT:
            self.fail(reason)
        elif self.job.num_ranks > 1:
            self._start_job_anew_or_fail(reason)
        elif self._may_try_again(reason):
            assert self._lock is not None
            self._record_start()
            self._start(self._lock)
        else:
            self.fail(reason)

    def _start_job_anew_or_fail(self, reason: str) -> None:
        """Of a run over several processes, all have to start again: one that lost its peers cannot go on."""
        if self.rank == 0 and self._may_try_again(reason):
            self.wants_requeue = True
        else:
            self.fail(reason)

    def _may_try_again(self, reason: str) -> bool:
        self.history.end("failed", reason)
        return self.history.repeated() < self.job.max_tries and self._num_starts < MAX_STARTS

    def _hopeless(self) -> str | None:
        """Return why another start would end as those before, if it would."""
        before = self.history.repeated(before=True)
        if before < self.job.max_tries:
            return None
        last = read_history(self.folder.path)[-2]
        tail = log_tail(self.folder.log_file, TAIL_LINES)
        ended = f"{before} starts in a row ended by: {last['ending']} (on {last['host']}), without a new checkpoint"
        self._show(ended, self.folder.log_file, tail)
        return f"{ended}; its log ends: {tail[-1].strip()}" if tail else ended

    def _show(self, reason: str, log: Path, tail: list[str]) -> None:
        logger.error("%s: %s; last lines of %s:\n%s", self.run.name, reason, log, "\n".join(tail))

    def _take_lock(self, signals: StopSignals) -> RunLock | None:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            lock = RunLock.acquire(self._own.path)
            if lock is not None or signals.number is not None or time.monotonic() > deadline:
                return lock
            time.sleep(POLL_S)

    def _start(self, lock: RunLock) -> None:
        if self.rank == 0:
            clear_failure(self.folder)
        self._num_starts += 1
        command = ["sh", "-c", f"trap '' {self.ignored}; exec \"$@\"", "cxr-job", sys.executable, *self.run.arguments]
        placement = self.placement
        self.process = RunProcess.start(placement.bound(command), self._own, lock, placement.environment)

    def _said(self) -> str | None:
        """Return what the training says why it failed."""
        status = self.folder.status() if self.rank == 0 else {}
        return status.get("error") if status.get("state") == "failed" else None

    def _blame_ranks(self) -> None:
        """Treat a stop of the first process as a failure when another one failed and SLURM ended them all for it."""
        if self.rank == 0:
            for path in sorted(self.folder.path.glob("ranks/*/failure.txt")):
                self.stopped = False
                self._start_job_anew_or_fail(f"process {path.parent.name}: {path.read_text(encoding='utf-8')}")
                return
