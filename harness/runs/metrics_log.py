"""Append one record per epoch to metrics.jsonl, and to TensorBoard when asked."""

from __future__ import annotations

import json
import logging
from numbers import Real
from typing import Any

import pandas as pd

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
            flat = pd.json_normalize(record, sep="/").iloc[0].to_dict()
            scalars = {name: float(value) for name, value in flat.items() if isinstance(value, Real)}
            self._events.log(scalars, step=record["step"])

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            self._events.finish()


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"
