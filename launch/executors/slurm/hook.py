"""The profile's ``on_end``: a shell line that is started when a run has ended, with the run's facts around it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

WAIT_S = 30.0
"""Time that a hook gets beyond the end of its job's runs."""

logger = logging.getLogger(__name__)


class Hook:
    """One hook: it runs beside the job, and neither its failure nor its hanging reaches a run."""

    def __init__(self, line: str, facts: Mapping[str, str | None]) -> None:
        """Start the line by ``sh``; each fact is an environment variable, an unknown one is empty."""
        self._line = line
        values = {f"CXR_{name.upper()}": value or "" for name, value in facts.items()}
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                ["sh", "-c", line],
                env={**os.environ, **values},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            logger.warning("on_end could not be started: %s", error)

    def close(self) -> None:
        """Give it ``WAIT_S`` to end, then kill it; a failure is a line in the job's log."""
        if self._process is None:
            return
        try:
            status = self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            status = self._process.wait()
        if status != 0:
            logger.warning("on_end ended with status %d: %s", status, self._line)
