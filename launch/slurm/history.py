"""The starts of one queued run: beginnings and endings come in; ``attempts.json`` in the run's folder goes out."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from datasets.files import read_json, write_json

FILE_NAME = "attempts.json"


class History:
    """What ``attempts.json`` holds: for each start job, restart, host, started, ended, ending and reason.

    Endings are ``done``, ``failed``, ``time limit``, ``preempted``, ``terminated`` (by scancel, or by a preemption
    that gave no warning) and ``killed`` (the process never said how it ended: a lost node).
    """

    def __init__(self, folder: Path, *, owner: bool) -> None:
        self._file = folder / FILE_NAME
        self._owner = owner

    def start(self, job: str) -> None:
        """A start of now; what the one before left open is settled by whether SLURM has queued the job again."""
        if not self._owner:
            return
        starts = read_history(self._file.parent)
        restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        if starts:
            last = starts[-1]
            if last["ending"] is None:
                last["ending"] = "killed"
            elif last["ending"] == "terminated" and last["job"] == job and restart > last["restart"]:
                last["ending"] = "preempted"
        start = {"job": job, "restart": restart, "host": socket.gethostname(), "started": time.time()}
        write_json(self._file, [*starts, {**start, "ended": None, "ending": None, "reason": None}])

    def end(self, ending: str, reason: str | None = None) -> None:
        """How the start of now ended."""
        starts = read_history(self._file.parent) if self._owner else []
        if starts and starts[-1]["ending"] is None:
            starts[-1] = {**starts[-1], "ended": time.time(), "ending": ending, "reason": reason}
            write_json(self._file, starts)


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The starts of the run in this folder, oldest first."""
    path = folder / FILE_NAME
    starts: list[dict[str, Any]] = read_json(path) if path.exists() else []
    return starts
