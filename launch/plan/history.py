"""The starts of one queued run: beginnings and endings come in; ``attempts.json`` in the run's folder goes out."""

from __future__ import annotations

import os
import re
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from datasets.files import read_json, write_json
from harness.runs.folder import RunFolder

FILE_NAME = "attempts.json"
INTERRUPTIONS = ("time limit", "preempted", "requeued")
OWN_FAULT = ("failed", "killed", "time limit")
"""Endings that a run may owe to itself: repeated without a new checkpoint between them, they lead nowhere."""


class History:
    """What ``attempts.json`` holds, of each start: job, restart, host, started, ended, ending, reason, and more.

    Endings are ``done``, ``failed``, ``time limit``, ``preempted``, ``requeued`` (scontrol requeue, or SIGUSR2 by
    hand), ``cancelled`` (scancel), ``killed`` (never said how it ended: a lost node, SIGKILL) and ``terminated``
    (told to stop, nobody said why). ``told`` is the ending that was announced, ``checkpoint`` is when the checkpoint
    that the start found was written (unix time, None without one), ``given_up`` says that no further start followed
    by itself.
    """

    def __init__(self, folder: Path, *, owner: bool) -> None:
        self._folder = RunFolder(folder)
        self._owner = owner

    def start(self, job: str) -> None:
        """A start of now; what the one before left open is settled by whether SLURM has queued the job again."""
        if not self._owner:
            return
        starts = _recorded(self._folder.path)
        restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        if starts:
            last = starts[-1]
            if last["ending"] is None:
                last["ending"] = last.get("told") or "killed"
            elif last["ending"] == "terminated" and last["job"] == job and restart > last["restart"]:
                last["ending"] = "requeued"
        start = {"job": job, "restart": restart, "host": _node(), "started": time.time()}
        still_open = {"told": None, "ended": None, "ending": None, "reason": None, "given_up": False}
        self._write([*starts, {**start, "checkpoint": self._checkpoint(), **still_open}])

    def tell(self, ending: str) -> None:
        """Why the start of now is being ended: it may be killed before it can say how it ended."""
        starts = _recorded(self._folder.path) if self._owner else []
        if starts and starts[-1]["ending"] is None:
            self._write([*starts[:-1], {**starts[-1], "told": ending}])

    def end(self, ending: str, reason: str | None = None) -> None:
        """How the start of now ended."""
        starts = _recorded(self._folder.path) if self._owner else []
        if starts and starts[-1]["ending"] is None:
            self._write([*starts[:-1], {**starts[-1], "ended": time.time(), "ending": ending, "reason": reason}])

    def give_up(self, reason: str) -> None:
        """No further start follows by itself; what came before counts no more once a person starts it again."""
        self.end("failed", reason)
        starts = _recorded(self._folder.path) if self._owner else []
        if starts:
            self._write([*starts[:-1], {**starts[-1], "given_up": True}])

    def repeated(self) -> int:
        """How many starts in a row, up to the last one, ended alike by what may be the run's own fault."""
        starts = _recorded(self._folder.path) if self._owner else []
        return same_way(starts, self._checkpoint())

    def before_this_start(self) -> int:
        """The same of the starts before the one of now."""
        starts = _recorded(self._folder.path) if self._owner else []
        return same_way(starts[:-1], self._checkpoint())

    def interruptions(self) -> int:
        """How often it was sent back to the queue since the last start that gave up."""
        starts = _recorded(self._folder.path) if self._owner else []
        return sum(start["ending"] in INTERRUPTIONS for start in _since_given_up(starts))

    def _checkpoint(self) -> float | None:
        try:
            return self._folder.last_dir.stat().st_mtime
        except FileNotFoundError:
            return None

    def _write(self, starts: Sequence[Mapping[str, Any]]) -> None:
        write_json(self._folder.path / FILE_NAME, list(starts))


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The starts of the run in this folder, oldest first.

    The last start of a run that is done ended so, even if its node was lost before that could be written.
    """
    starts = _recorded(folder)
    if starts and starts[-1]["ending"] is None and RunFolder(folder).result_file.exists():
        starts[-1]["ending"] = "done"
    return starts


def _recorded(folder: Path) -> list[dict[str, Any]]:
    path = folder / FILE_NAME
    starts: list[dict[str, Any]] = read_json(path) if path.exists() else []
    return starts


def count_endings(starts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Number of starts by how they ended, in the order of their first."""
    return dict(Counter(start["ending"] or "has not ended" for start in starts))


def same_way(starts: Sequence[Mapping[str, Any]], checkpoint: float | None) -> int:
    """Starts at the end of ``starts`` that ended alike, from the checkpoint that there still is. Pure.

    Reasons are alike when they differ in numbers alone; a start still open counts as what was told, or as killed.
    """
    recent = _since_given_up(starts)[::-1]
    if not recent or _way(recent[0])[0] not in OWN_FAULT:
        return 0
    way = _way(recent[0])
    return len(list(takewhile(lambda start: _way(start) == way and start.get("checkpoint") == checkpoint, recent)))


def _since_given_up(starts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    after = max((number + 1 for number, start in enumerate(starts) if start.get("given_up")), default=0)
    return list(starts[after:])


def _way(start: Mapping[str, Any]) -> tuple[str, str]:
    reason = re.sub(r"^(killed by \w+).*", r"\1", start["reason"] or "")  # where it was by then is no difference
    return start["ending"] or start.get("told") or "killed", re.sub(r"\d+", "N", reason)


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()
