"""History of the starts of one queued run, kept in ``attempts.json`` in the run's folder."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from datasets.files import write_json
from harness.runs.folder import RunFolder

INTERRUPTIONS = ("time limit", "preempted", "requeued")
OWN_FAULT = ("failed", "killed", "time limit")
"""Endings that a run may owe to itself: repeated without a new checkpoint between them, they lead nowhere."""

Start = dict[str, Any]


class History:
    """Starts of a run: job, restart, host, started, ended, ending, reason, and more of each.

    Endings are ``done``, ``failed``, ``time limit``, ``preempted``, ``requeued`` (scontrol requeue, or SIGUSR2 by
    hand), ``cancelled`` (scancel), ``killed`` (it never said how it ended: a lost node, SIGKILL) and ``terminated``
    (stopped for no reason that was given). ``told`` is the ending that was announced, ``checkpoint`` is when the
    checkpoint that the start found was written (unix time, None without one), ``given_up`` says that no further start
    followed by itself. Only the ``owner``, the first process of a run, reads and writes; for others all is empty.
    """

    def __init__(self, folder: Path, *, owner: bool) -> None:
        self._folder = RunFolder(folder)
        self._owner = owner

    def start(self, job: str, *, restart: int = 0, host: str | None = None) -> None:
        """Record a start; one before that is still open ended as announced, or was killed."""
        if not self._owner:
            return
        starts = self._starts()
        if starts:
            last = starts[-1]
            if last["ending"] is None:
                last["ending"] = last.get("told") or "killed"
            elif last["ending"] == "terminated" and last["job"] == job and restart > last["restart"]:
                last["ending"] = "requeued"
        start = {"job": job, "restart": restart, "host": host or socket.gethostname(), "started": time.time()}
        still_open = {"told": None, "ended": None, "ending": None, "reason": None, "given_up": False}
        self._write([*starts, {**start, "checkpoint": self._checkpoint(), **still_open}])

    def announce(self, ending: str) -> None:
        """Record why the present start is being stopped; it may be killed before it can say how it ended."""
        self._change_open({"told": ending})

    def end(self, ending: str, reason: str | None = None) -> None:
        """Record how the present start ended."""
        self._change_open({"ended": time.time(), "ending": ending, "reason": reason})

    def give_up(self, reason: str) -> None:
        """Record that no further start follows by itself; what came before counts no more once a person starts it."""
        self.end("failed", reason)
        starts = self._starts()
        if starts:
            self._write([*starts[:-1], {**starts[-1], "given_up": True}])

    def repeated(self, *, before: bool = False) -> int:
        """Count starts in a row, up to the last or the one ``before``, that ended alike, maybe by their own fault."""
        return same_way(self._starts()[: -1 if before else None], self._checkpoint())

    def interruptions(self) -> int:
        """Count how often the run was sent back to the queue since the last start that gave up."""
        return sum(start["ending"] in INTERRUPTIONS for start in _since_given_up(self._starts()))

    def _starts(self) -> list[Start]:
        return self._folder.attempts() if self._owner else []

    def _change_open(self, values: Mapping[str, Any]) -> None:
        starts = self._starts()
        if starts and starts[-1]["ending"] is None:
            self._write([*starts[:-1], {**starts[-1], **values}])

    def _checkpoint(self) -> float | None:
        try:
            return self._folder.last_dir.stat().st_mtime
        except FileNotFoundError:
            return None

    def _write(self, starts: Sequence[Mapping[str, Any]]) -> None:
        write_json(self._folder.attempts_file, list(starts))


def read_history(folder: Path) -> list[Start]:
    """Return the starts of the run in this folder, oldest first.

    The last start of a run that is done ended so, even if its node was lost before that could be written.
    """
    starts = RunFolder(folder).attempts()
    if starts and starts[-1]["ending"] is None and RunFolder(folder).result_file.exists():
        starts[-1]["ending"] = "done"
    return starts


def same_way(starts: Sequence[Mapping[str, Any]], checkpoint: float | None) -> int:
    """Count the starts at the end of ``starts`` that ended alike, from the checkpoint that there still is.

    Reasons are alike when they differ in numbers alone; a start still open counts as announced, or as killed.
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
