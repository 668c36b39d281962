"""How far a run has come, as plain values that a checkpoint can hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from harness.config.schedule import Validated


@dataclass(frozen=True, kw_only=True, eq=False)
class PartialEpoch:
    """What an epoch has measured up to some step, over all processes, so that a resumed one reports the same."""

    batches: int
    """Global batches of the epoch that are done; the next one is the loader's start step."""
    skipped: int
    """Optimiser steps of them that were left out."""
    images: int
    """Training images in those batches."""
    measured: int
    """Images in those batches that count in the means: all but those of batches skipped for their numbers."""
    seconds: float
    data_wait_s: float
    has_attention: bool
    sums: Tensor
    """(processes, 3) float64: sums over images of loss, cross-entropy and attention loss, one row per process."""
    indices: Tensor
    """(n,) int64, ascending."""
    logits: Tensor
    """(n, L) float32."""
    targets: Tensor
    """(n, L) uint8."""
    accumulate: int = 1
    """Batches of one optimiser step; the epoch's last step may have fewer."""

    @property
    def steps(self) -> int:
        """Optimiser steps made."""
        return -(-self.batches // self.accumulate) - self.skipped


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """How far a run has come: everything but the tensors of network and optimiser that a resumed run needs."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Optimiser steps done in those epochs."""
    skipped: int = 0
    """Optimiser steps left out in those epochs."""
    images: int = 0
    """Training images seen in those epochs over all processes."""
    train_seconds: float = 0.0
    """Seconds spent in training steps of those epochs, waiting for data included."""
    seconds: float = 0.0
    """Seconds spent in all, over all starts up to this checkpoint."""
    restarts: int = 0
    """How often the run was taken up again."""
    history: tuple[Validated, ...] = ()
    """Every validation so far, in order."""
    processes: tuple[tuple[int, int], ...] = ()
    """(optimiser step, number of processes from there on), first (0, n); empty in checkpoints of older versions."""
    partial: PartialEpoch | None = None
    """The epoch that is under way; None between two epochs."""

    @property
    def steps_begun(self) -> int:
        """Optimiser steps of the run, made or left out, those of the epoch that is under way included."""
        partial = 0 if self.partial is None else self.partial.steps + self.partial.skipped
        return self.step + self.skipped + partial

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors, as ``torch.load`` reads them back with ``weights_only``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainState:
        """What ``to_dict`` made.

        Raises:
            TypeError, KeyError: when these are the values of something else.
        """
        values = dict(values)
        history = tuple(Validated(**item) for item in values.pop("history"))
        partial = values.pop("partial")
        values["processes"] = tuple(map(tuple, values.get("processes", ())))
        return cls(**values, history=history, partial=None if partial is None else PartialEpoch(**partial))
