"""One run as a process of its own, and what its log and exit status say."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.runs.folder import RunFolder
from harness.runs.lock import RunLock
from launch.executors.signals import dying_with_parent

TAIL_BYTES = 16_384
ERROR_PREFIX = "error: "
"""How ``cxr`` begins the one line that it prints for bad input."""


@dataclass
class RunProcess:
    """A run's process, leader of its own session: a terminal's Ctrl-C reaches it through this process alone."""

    lock: RunLock
    log: Path
    log_start: int
    """Size of the log before this start, in bytes."""
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        folder: RunFolder,
        lock: RunLock,
        environment: Mapping[str, str] | None = None,
    ) -> RunProcess:
        """Start the command, its output appended to the run's log, the lock's descriptor handed down to it.

        Raises:
            OSError: when the log cannot be written or no process can be made.
        """
        with folder.log_file.open("ab") as log:
            log_start = log.tell()
            log.write(f"=== {time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(command)}\n".encode())
            log.flush()
            process = subprocess.Popen(
                dying_with_parent(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "CXR_TRACEBACK": "1",
                    **lock.environment,
                    **(environment or {}),
                },
                start_new_session=True,
                pass_fds=(lock.descriptor,),
            )
        return cls(lock=lock, log=folder.log_file, log_start=log_start, process=process)

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.started

    def poll(self) -> int | None:
        """Return the exit status once it has ended (-N: by signal N), else None; its whole group is then killed."""
        if self.process.returncode is not None:
            return self.process.returncode
        # WNOWAIT leaves a zombie behind, which keeps the group's number from being given to another.
        if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self.signal(signal.SIGKILL)
        return self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def log_tail(log: Path, lines: int, start: int = 0) -> list[str]:
    """Return the last lines of a run's log from byte ``start`` on, without blank ones and commands."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace").replace("\r", "\n")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line.strip() and not line.startswith("=== ")][-lines:]


def explain_exit(status: int, log_tail: Sequence[str]) -> str:
    """Return in one line why a process ended without a result: its error message, else its status and last words."""
    last = log_tail[-1].strip() if log_tail else ""
    if status > 0 and last.startswith(ERROR_PREFIX):
        return last.removeprefix(ERROR_PREFIX)
    ending = "ended without a result.json" if status == 0 else f"exit status {status}"
    if status < 0:
        number = -status
        name = signal.Signals(number).name if number in {known.value for known in signal.Signals} else str(number)
        ending = f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"{ending}: {last}" if last else ending
