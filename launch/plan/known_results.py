"""Remember what done runs said, so that looking at a large grid again reads only what has changed since."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from datasets.errors import InputError
from datasets.files import read_json_object, write_text

NAME = ".known_results.json"
LEAST_NEW = 500
"""Fewer new results than this are read again rather than written down."""
SETTLED_S = 60.0
"""Files beside a result, such as the queue's history, may still be written this long after it."""


class KnownResults:
    """Facts of the done runs of one folder, each valid while its result.json has the same time and size.

    What was written with another ``version`` of the facts is forgotten.
    """

    def __init__(self, runs_dir: Path, version: Sequence[str]) -> None:
        self._runs_dir, self._file, self._version = runs_dir, runs_dir / NAME, list(version)
        self._known: dict[str, Any] = {}
        self._num_new = 0
        with suppress(InputError):  # absent or damaged: results are read once more
            document = read_json_object(self._file)
            if document.get("version") == self._version:
                self._known = document["known"]

    def get(self, run_id: str) -> dict[str, Any] | None:
        """What was remembered of a run, or None when its result is unknown or has changed."""
        found = self._known.get(run_id)
        return found["facts"] if found is not None and found["stamp"] == self._stamp(run_id) else None

    def is_settled(self, run_id: str) -> bool:
        """Whether the facts of a run will stay as they are, so that they can be added."""
        stamp = self._stamp(run_id)
        return stamp is not None and time.time() - stamp[0] / 1e9 > SETTLED_S

    def add(self, run_id: str, facts: dict[str, Any]) -> None:
        """Remember the facts of a done run."""
        self._known[run_id] = {"stamp": self._stamp(run_id), "facts": facts}
        self._num_new += 1

    def write(self) -> None:
        """Keep what is new for the next look, where that is much and the folder may be written to."""
        if self._num_new >= LEAST_NEW:
            with suppress(OSError):
                write_text(self._file, json.dumps({"version": self._version, "known": self._known}))

    def _stamp(self, run_id: str) -> list[int] | None:
        try:
            found = (self._runs_dir / run_id / "result.json").stat()
        except OSError:
            return None
        return [found.st_mtime_ns, found.st_size]
