"""Watch a run's folder from outside: when its first step was made, and what its epochs took."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets.errors import InputError
from harness.runs.folder import RunFolder

POLL_S = 0.005


@dataclass
class Watched:
    """Seconds from before the process was started until something was first seen."""

    first_step_s: float | None = None
    recorded_s: list[float] = field(default_factory=list)
    """By epoch, until its line of metrics, which stands before its checkpoint."""
    saved_s: list[float] = field(default_factory=list)
    """By epoch, until status.json tells it done, which stands behind its checkpoint."""


def watched(command: Sequence[str], folder: RunFolder, log: Path) -> Watched:
    """Run a training to its end and look at its folder every 5 ms.

    Raises:
        InputError: with the command's last words when it fails.
    """
    found, started = Watched(), time.monotonic()
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            while (status := process.poll()) is None:
                _look(found, folder, time.monotonic() - started)
                time.sleep(POLL_S)
        finally:
            process.terminate()  # nothing when it has ended; else it saves a checkpoint and ends
    _look(found, folder, time.monotonic() - started)
    if status != 0:
        words = " / ".join(log.read_text(errors="replace").strip().splitlines()[-4:])
        raise InputError(f"{' '.join(command[:5])} ended with {status}: {words}")
    return found


def _look(found: Watched, folder: RunFolder, now: float) -> None:
    if found.first_step_s is None and folder.steps_file.exists():
        found.first_step_s = now
    recorded = folder.metrics_file.read_bytes().count(b"\n") if folder.metrics_file.exists() else 0
    found.recorded_s += [now] * (recorded - len(found.recorded_s))
    saved = folder.status().get("epoch", 0) if folder.status_file.exists() else 0
    found.saved_s += [now] * (saved - len(found.saved_s))


def epoch_parts(records: Sequence[Mapping[str, Any]], found: Watched) -> list[dict[str, float]]:
    """Seconds of each epoch but the first: of the whole, from one checkpoint to the next, and of its parts.

    ``data_s`` is waited for batches, ``step_s`` the rest of the training steps, ``validation_s`` and
    ``checkpoint_s`` what they say; ``other_s`` is mostly scoring. On a GPU scoring and checkpoints are written while
    the next epoch trains, so that they overlap it and there is no ``other_s``.
    """
    epochs = []
    for number in range(1, len(records)):
        record, before = records[number], records[number - 1]
        trained_s = record["data_wait_s"] + record["compute_s"]
        parts = {
            "data_s": record["data_wait_s"],
            "step_s": record["compute_s"],
            "validation_s": record["elapsed_s"] - before["elapsed_s"] - trained_s,
            "checkpoint_s": found.saved_s[number] - found.recorded_s[number],
        }
        seconds = found.saved_s[number] - found.saved_s[number - 1]
        epochs.append({"seconds": seconds, **parts, "other_s": max(0.0, seconds - sum(parts.values()))})
    return epochs
