"""``on_end``: a shell line that is started when a run has ended, with the run's facts in its environment."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

WAIT_S = 30.0
"""Time that a hook gets before the end of the runs beside its own may kill it."""

logger = logging.getLogger(__name__)


class Hook:
    """One hook: it runs beside the runs, and neither its failure nor its hanging reaches one of them."""

    def __init__(
        self, line: str, folder: Path, *, name: str, state: str, error: str, grid: str, job: str = ""
    ) -> None:
        """Start the line by ``sh``.

        Args:
            line: the user's.
            folder: the run's, named by the run id.
            name: of the run.
            state: ``done`` or ``failed``.
            error: why it failed; empty otherwise.
            grid: as it was typed.
            job: the queue's; empty on this machine.
        """
        self._line, self._started = line, time.monotonic()
        run = {"ID": folder.name, "NAME": name, "STATE": state, "ERROR": error, "DIR": str(folder)}
        facts = {**{f"CXR_RUN_{key}": value for key, value in run.items()}, "CXR_GRID": grid, "CXR_JOB": job}
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                ["sh", "-c", line],
                env={**os.environ, **facts},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as reason:
            logger.warning("on_end could not be started: %s", reason)

    def has_ended(self) -> bool:
        """Whether it has ended by itself; its failure is then a line in the log."""
        status = 0 if self._process is None else self._process.poll()
        if status:
            logger.warning("on_end ended with status %d: %s", status, self._line)
        return status is not None

    def close(self) -> None:
        """Wait for its end, at most until ``WAIT_S`` after its start, then kill it."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, self._started + WAIT_S - time.monotonic()))
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.has_ended()


@dataclass(kw_only=True)
class Hooks:
    """The hooks of the runs of one command, which has a line for them or none."""

    line: str | None
    grid: str
    _started: list[Hook] = field(default_factory=list)

    def tell(self, folder: Path, *, name: str, state: str, error: str) -> None:
        """Start the line, as ``Hook`` does."""
        self._started = [hook for hook in self._started if not hook.has_ended()]
        if self.line is not None:
            self._started.append(Hook(self.line, folder, name=name, state=state, error=error, grid=self.grid))

    def close(self) -> None:
        """End all hooks."""
        for hook in self._started:
            hook.close()
