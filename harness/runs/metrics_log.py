"""Append one record per epoch to metrics.jsonl, and to TensorBoard and other trackers when asked."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from numbers import Real
from typing import Any

import pandas as pd

from datasets.files import write_text
from harness.runs.folder import RunFolder
from harness.runs.trackers import TrackerName, open_tensorboard, open_tracker

logger = logging.getLogger(__name__)


class MetricsLog:
    """Appends one JSON line per epoch; of a process that does not own the run folder it writes nothing."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        owner: bool,
        first_epoch: int,
        tensorboard: bool = False,
        trackers: Sequence[TrackerName] = (),
        run_id: str = "",
    ) -> None:
        """Cut what lies behind the checkpoint, since those epochs will be run again; keep each other epoch once.

        Args:
            folder: the run's folder.
            owner: whether this process writes.
            first_epoch: the epoch that will be recorded next; later lines are cut off.
            tensorboard: whether event files are written too.
            trackers: other trackers that get the same numbers, which know the run by ``run_id``.
        """
        self._file = folder.metrics_file
        self._owner = owner
        self._trackers: list[Any] = []
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
            self._trackers.append(open_tensorboard(folder.path, kept[-1]["step"] + 1 if kept else None))
        self._trackers += [open_tracker(name, folder.path, run_id) for name in trackers]

    def append(self, record: dict[str, Any]) -> None:
        """Write one epoch's record, numbers only where they are defined."""
        if not self._owner:
            return
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(_line(record))
        if self._trackers:
            flat = pd.json_normalize(record, sep="/").iloc[0].to_dict()
            scalars = {name: float(value) for name, value in flat.items() if isinstance(value, Real)}
            for tracker in self._trackers:
                tracker.log(scalars, step=record["step"])

    def close(self) -> None:
        """Close what trackers write."""
        while self._trackers:
            self._trackers.pop().finish()


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"
