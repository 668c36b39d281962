"""One run within a job: its command comes in; a training that is started, stopped and judged goes out."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import cast

from datasets.files import read_json
from harness.runs.folder import RunFolder
from launch.executors.prepare import prepare_folder, record_failure
from launch.executors.process import RunProcess, explain_exit, log_tail
from launch.executors.slots import Slot
from launch.executors.slurm.job import Job, JobRun
from launch.grids.grid import GridRun, Kind
from launch.plan.history import History, read_history
from launch.plan.lock import RunLock

POLL_S = 0.2
LOCK_WAIT_S = 900.0
"""Time that a run's earlier process gets to be gone: on a node that SLURM has lost it may still compute."""
MAX_STARTS = 10
"""Starts within one job, should a run fail in another way each time."""
BAD_INPUT = 2
DEAF = "trap '' TERM USR2; exec \"$@\""
"""Shell line that starts a training deaf to SLURM's signals, which go to all processes of a job step. This process
tells it once, with SIGINT: a training that is told twice ends at once instead of saving at the end of its step."""
TAIL_LINES = 12


class Stop:
    """The signal that asked this process to stop, if one did."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.count = 0

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler; the first signal decides what follows, except that being ended wins."""
        self.count += 1
        if self.number != signal.SIGTERM:
            self.number = number

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals over from submitit, which would ignore SIGTERM and put the job back while runs save."""
        before = {number: signal.signal(number, self.note) for number in (signal.SIGTERM, signal.SIGUSR2)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Worker:
    """This process's part of one run: the training that it started, and what became of it."""

    def __init__(self, job: Job, run: JobRun, rank: int, number: int) -> None:
        self.job, self.run, self.rank, self.number = job, run, rank, number
        self.folder = RunFolder(Path(run.folder))
        self.process: RunProcess | None = None
        self.failure: str | None = None
        self.stopped = False
        self.wants_requeue = False
        """Whether a run over several processes, which failed, may be tried again by a job that starts anew."""
        self.tries = 0
        self._lock: RunLock | None = None
        self.history = History(self.folder.path, owner=rank == 0)
        self._place = self.folder if rank == 0 else RunFolder(self.folder.path / "ranks" / str(rank))

    def begin(self, stop: Stop) -> None:
        """Start the training, unless the run is done or lacks what it needs."""
        if self.rank == 0 and self.folder.result_file.exists():
            return
        missing = [name for name, folder in self.run.needs if not RunFolder(Path(folder)).result_file.exists()]
        if missing:
            self.fail(f"needs {missing[0]}, which is not done")
            return
        self._lock = self._take_lock(stop)
        if self._lock is None:  # nothing is written: the run's files belong to the process that computes it
            self.stopped = stop.number is not None
            self.failure = None if self.stopped else "another process computes this run"
            return
        if self.rank == 0 and self.folder.result_file.exists():
            return  # by the process that held the lock
        self._failure_file.unlink(missing_ok=True)
        self.history.start(slurm_job_id())
        hopeless = self._hopeless()
        if hopeless is not None:
            self.fail(hopeless)
            return
        self._start(self._lock)

    def end(self) -> None:
        """Ask the training to save and stop."""
        if self.process is not None and self.process.process.poll() is None:
            self.process.process.send_signal(signal.SIGINT)

    def tell(self, ending: str) -> None:
        """Write down why the training is being stopped."""
        if self._lock is not None:
            self.history.tell(ending)

    def look(self, stop: Stop) -> None:
        """Note that the training ended, and start it again when it failed and may be tried again."""
        status = None if self.process is None else self.process.poll()
        if self.process is None or status is None:
            return
        process, self.process = self.process, None
        if self.folder.result_file.exists() if self.rank == 0 else status == 0:
            self.note_ending("done")
        elif stop.number is not None:
            self.stopped = True
            self._blame_ranks()
        else:
            self._try_again_or_fail(process, status)

    def _try_again_or_fail(self, process: RunProcess, status: int) -> None:
        """A training that failed by itself is started again, unless it has failed in this way often enough."""
        reason = self._reason(process, status)
        tail = "\n".join(process.log_tail(TAIL_LINES))
        print(f"{self.run.name}: {reason}; last lines of {process.log}:\n{tail}", file=sys.stderr, flush=True)
        if status == BAD_INPUT:
            self.fail(reason)
        elif self.job.num_ranks > 1:
            self._start_job_anew_or_fail(reason)
        elif self._may_try_again(reason):
            assert self._lock is not None
            self.history.start(slurm_job_id())
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
        return self.history.repeated() < self.job.max_tries and self.tries < MAX_STARTS

    def _hopeless(self) -> str | None:
        """Why another start would end as those before, if it would."""
        before = self.history.before_this_start()
        if before < self.job.max_tries:
            return None
        last = read_history(self.folder.path)[-2]
        tail = log_tail(self.folder.log_file, TAIL_LINES)
        print(
            f"{self.run.name}: last lines of {self.folder.log_file}:\n" + "\n".join(tail), file=sys.stderr, flush=True
        )
        ended = f"{before} starts in a row ended by: {last['ending']} (on {last['host']}), without a new checkpoint"
        return f"{ended}; its log ends: {tail[-1].strip()}" if tail else ended

    def note_ending(self, ending: str, reason: str | None = None) -> None:
        """Write how this start ended into the run's history."""
        if self._lock is not None:
            self.history.end(ending, reason)

    def close(self) -> None:
        """Leave no process behind and let go of the run."""
        if self.process is not None:
            self.process.signal(signal.SIGKILL)
            self.process.process.wait()
        if self._lock is not None:
            self._lock.release()

    @property
    def _failure_file(self) -> Path:
        return self._place.path / "failure.txt"

    def _take_lock(self, stop: Stop) -> RunLock | None:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            lock = RunLock.acquire(self._place.path)
            if lock is not None or stop.number is not None or time.monotonic() > deadline:
                return lock
            time.sleep(POLL_S)

    def _start(self, lock: RunLock) -> None:
        run = GridRun(name=self.run.name, kind=cast(Kind, self.run.kind), config=self.folder.config())
        if self.rank == 0:
            prepare_folder(run, self.folder.path.parent)
        self.tries += 1
        command = ["sh", "-c", DEAF, "cxr-job", sys.executable, *self.run.arguments]
        self.process = RunProcess.start(run, command, self._place, Slot(number=self.number), lock)

    def _reason(self, process: RunProcess, status: int) -> str:
        """Why the training failed: what it said itself, else how it ended."""
        if self.rank == 0 and self.folder.status_file.exists():
            said = read_json(self.folder.status_file)
            if said.get("state") == "failed" and said.get("error"):
                return str(said["error"])
        return explain_exit(status, process.log_tail(TAIL_LINES))

    def fail(self, reason: str) -> None:
        """The run has failed for good, or is not to go on by itself."""
        self.failure = reason
        if self.rank == 0:
            record_failure(self.folder, reason)
            self.history.give_up(reason)
        else:
            self._failure_file.write_text(reason, encoding="utf-8")

    def _blame_ranks(self) -> None:
        """Take a stop of the first process for what it is when another process failed and SLURM ended them all."""
        if self.rank == 0:
            for path in sorted(self.folder.path.glob("ranks/*/failure.txt")):
                self.stopped = False
                self._start_job_anew_or_fail(f"process {path.parent.name}: {path.read_text(encoding='utf-8')}")
                return


def slurm_job_id() -> str:
    """``12`` or ``12_3`` of the job that this process belongs to."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
