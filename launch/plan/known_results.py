"""Remember what done runs said, so that looking at a large grid again reads only what has changed since."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from datasets.errors import InputError
from datasets.files import regular, replacing

NAME = ".known_results.json"
LEAST_NEW = 500
"""Fewer new results than this are read again rather than written down."""
SETTLED_S = 60.0
"""Files beside a result, such as the queue's history, may still be written this long after it."""


class KnownResults:
    """Facts of the done runs of one folder, each valid while its result.json has the same time and size.

    A line of the file holds a run's id and, as JSON, time, size and facts; it is parsed when it is asked for. What
    was written with another ``version`` of the facts is forgotten.
    """

    def __init__(self, runs_dir: Path, version: Sequence[str]) -> None:
        self._runs_dir, self._file = runs_dir, runs_dir / NAME
        self._head = json.dumps(list(version))
        self._lines: dict[str, str] = {}
        self._num_new = 0
        with suppress(InputError, OSError, ValueError):  # absent or damaged: results are read once more
            self._lines = self._read()

    def _read(self) -> dict[str, str]:
        with regular(self._file).open(encoding="utf-8") as lines:
            if next(lines, "") != f"{self._head}\n":
                return {}
            parts = (line.partition("\t") for line in lines)
            return {run_id: rest for run_id, _, rest in parts}

    def get(self, run_id: str) -> dict[str, Any] | None:
        """What was remembered of a run, or None when its result is unknown or has changed."""
        line = self._lines.get(run_id)
        if line is None:
            return None
        try:
            *stamp, facts = json.loads(line)
        except ValueError:
            return None
        return dict(facts) if stamp == self._stamp(run_id) else None

    def is_settled(self, run_id: str) -> bool:
        """Whether the facts of a run will stay as they are, so that they can be added."""
        stamp = self._stamp(run_id)
        return stamp is not None and time.time() - stamp[0] / 1e9 > SETTLED_S

    def add(self, run_id: str, facts: dict[str, Any]) -> None:
        """Remember the facts of a done run."""
        self._lines[run_id] = json.dumps([*(self._stamp(run_id) or ()), facts]) + "\n"
        self._num_new += 1

    def write(self) -> None:
        """Keep what is new for the next look, where that is much and the folder may be written to."""
        if self._num_new >= LEAST_NEW:
            with suppress(OSError), replacing(self._file) as partial, partial.open("w", encoding="utf-8") as lines:
                lines.write(f"{self._head}\n")
                lines.writelines(f"{run_id}\t{line}" for run_id, line in self._lines.items())

    def _stamp(self, run_id: str) -> list[int] | None:
        try:
            found = os.stat(f"{self._runs_dir}/{run_id}/result.json")  # noqa: PTH116  three times as fast as by a Path
        except OSError:
            return None
        return [found.st_mtime_ns, found.st_size]
