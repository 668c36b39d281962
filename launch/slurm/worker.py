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
from harness.run_folder import RunFolder
from launch.grid import GridRun, Kind
from launch.lock import RunLock
from launch.prepare import prepare_folder, record_failure
from launch.process import RunProcess, explain_exit
from launch.slots import Slot
from launch.slurm.history import History
from launch.slurm.job import Job, JobRun

POLL_S = 0.2
LOCK_WAIT_S = 60.0
"""Time that a run's earlier process gets to be gone."""
BAD_INPUT = 2
DEAF = "trap '' TERM USR2; exec \"$@\""
"""Shell line that starts a training deaf to SLURM's signals, which go to all processes of a job step. This process
tells it once, with SIGINT: a training that is told twice ends at once instead of saving at the end of its step."""
TAIL_LINES = 12


class Stop:
    """The signal that asked this process to stop, if one did."""

    def __init__(self) -> None:
        self.number: int | None = None

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler; the first signal decides what follows, except that being ended wins."""
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
        self.tries = 0
        self._lock: RunLock | None = None
        self._history = History(self.folder.path, owner=rank == 0)
        self._place = self.folder if rank == 0 else RunFolder(self.folder.path / "ranks" / str(rank))

    def begin(self, stop: Stop) -> None:
        """Start the training, unless the run is done or lacks what it needs."""
        if self.rank == 0 and self.folder.result_file.exists():
            return
        missing = [name for name, folder in self.run.needs if not RunFolder(Path(folder)).result_file.exists()]
        if missing:
            self._fail(f"needs {missing[0]}, which is not done")
            return
        self._lock = self._take_lock(stop)
        if self._lock is None:
            self._fail("another process computes this run")
            return
        self._failure_file.unlink(missing_ok=True)
        self._history.start(slurm_job_id())
        self._start(self._lock)

    def end(self) -> None:
        """Ask the training to save and stop."""
        if self.process is not None and self.process.process.poll() is None:
            self.process.process.send_signal(signal.SIGINT)

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
        elif status != BAD_INPUT and self.job.num_ranks == 1 and self.tries < self.job.max_tries:
            assert self._lock is not None
            print(f"{self.run.name}: failed, starting it again: {self._reason(process, status)}", file=sys.stderr)
            self._start(self._lock)
        else:
            tail = "\n".join(process.log_tail(TAIL_LINES))
            print(f"{self.run.name}: last lines of {process.log}:\n{tail}", file=sys.stderr, flush=True)
            self._fail(self._reason(process, status))

    def note_ending(self, ending: str, reason: str | None = None) -> None:
        """Write how this start ended into the run's history."""
        self._history.end(ending, reason)

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

    def _fail(self, reason: str) -> None:
        self.failure = reason
        if self.rank == 0:
            record_failure(self.folder, reason)
            self.note_ending("failed", reason)
        else:
            self._failure_file.write_text(reason, encoding="utf-8")

    def _blame_ranks(self) -> None:
        """Take a stop of the first process for what it is when another process failed and SLURM ended them all."""
        if self.rank == 0:
            for path in sorted(self.folder.path.glob("ranks/*/failure.txt")):
                self.stopped = False
                self._fail(f"process {path.parent.name}: {path.read_text(encoding='utf-8')}")
                return


def slurm_job_id() -> str:
    """``12`` or ``12_3`` of the job that this process belongs to."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
