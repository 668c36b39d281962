"""Record hashes of a run's weights after some optimiser steps, with which a retraining is compared.

Steps 1, 2, 5, 10, 20, 50, 100, ... of the run are hashed, so that a run of any length costs a few hashes alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from datasets.files import write_text
from harness.runs.checkpoint import weights_hash
from harness.runs.folder import RunFolder


class StepsDone(KeyboardInterrupt):
    """The run has made as many optimiser steps as it was to make."""


class StepHashes:
    """Counts a run's optimiser steps, and writes a line of steps.jsonl at some; to be called after every step."""

    def __init__(
        self,
        folder: RunFolder,
        network: nn.Module,
        arithmetic: Mapping[str, Any],
        *,
        done: int,
        owner: bool,
        max_steps: int | None = None,
    ) -> None:
        """Go on behind ``done`` steps, left out ones included; lines behind them are cut off.

        Args:
            folder: the run's folder, in which the ``owner`` alone writes.
            network: the one that is trained.
            arithmetic: what decides the bits of a step, kept beside each hash.
            done: optimiser steps that the checkpoint holds.
            owner: whether this process writes.
            max_steps: after this many steps ``StepsDone`` is raised.
        """
        self._file, self._network, self._arithmetic = folder.steps_file, network, dict(arithmetic)
        self._step, self._max_steps, self._owner = done, max_steps, owner
        self._lines = [line for line in folder.steps() if line["step"] <= done] if owner else []

    def __call__(self) -> None:
        """Count a step."""
        self._step += 1
        if self._owner and is_hashed(self._step):
            line = {"step": self._step, "weights_hash": weights_hash(self._network.state_dict()), **self._arithmetic}
            self._lines.append(line)
            write_text(self._file, "".join(json.dumps(line) + "\n" for line in self._lines))
        if self._max_steps is not None and self._step >= self._max_steps:
            raise StepsDone(f"{self._step:,} steps done")


def is_hashed(step: int) -> bool:
    """Whether a step, from 1, is one of 1, 2, 5, 10, 20, 50, ..."""
    return str(step).rstrip("0") in ("1", "2", "5")
