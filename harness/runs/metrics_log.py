"""Append one record per epoch to metrics.jsonl, and to TensorBoard when asked."""

from __future__ import annotations

import json
import logging
from typing import Any

from datasets.files import write_text
from harness.runs.folder import RunFolder

logger = logging.getLogger(__name__)


class MetricsLog:
    """Appends one JSON line per epoch; of a process that does not own the run folder it writes nothing."""

    def __init__(self, folder: RunFolder, *, owner: bool, first_epoch: int, tensorboard: bool) -> None:
        """Cut what lies behind the checkpoint, since those epochs will be run again; keep each other epoch once.

        Args:
            folder: the run's folder.
            owner: whether this process writes.
            first_epoch: the epoch that will be recorded next; later lines are cut off.
            tensorboard: whether event files are written too.
        """
        self._file = folder.metrics_file
        self._owner = owner
        self._events: Any = None
        if not owner:
            return
        records = list(folder.metrics())
        damaged = sum("epoch" not in record for record in records)
        if damaged:
            logger.warning(
                f"{self._file}: damaged; {damaged} of {len(records)} lines cannot be read and are left out"
            )
        by_epoch = {record["epoch"]: record for record in records if record.get("epoch", first_epoch) < first_epoch}
        kept = [by_epoch[epoch] for epoch in sorted(by_epoch)]
        write_text(self._file, "".join(_line(record) for record in kept))
        if tensorboard:
            from accelerate.tracking import TensorBoardTracker  # type: ignore[import-untyped]

            step = kept[-1]["step"] + 1 if kept else None
            self._events = TensorBoardTracker("tensorboard", folder.path, purge_step=step)
            self._events.start()

    def append(self, record: dict[str, Any]) -> None:
        """Write one epoch's record, numbers only where they are defined."""
        if not self._owner:
            return
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(_line(record))
        if self._events is not None:
            self._events.log(dict(_scalars(record)), step=record["step"])

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            self._events.finish()


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"


def _scalars(record: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Numbers of a record with their names, nested names joined by a slash."""
    found: list[tuple[str, float]] = []
    for key, value in record.items():
        if isinstance(value, dict):
            found += _scalars(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)):
            found.append((prefix + key, float(value)))
    return found
