"""Measures one epoch of training: losses, logits and waiting times come in; means, AUROC and speeds go out.

Nothing is read from the device before the epoch's end, so measuring never makes the device wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.loader import Batch
from harness.devices import Accelerator
from harness.metrics import auroc, mean_defined
from harness.objectives import Losses
from harness.validate import Rows


@dataclass(frozen=True, kw_only=True)
class TrainedEpoch:
    """One epoch of training over all processes."""

    steps: int
    images: int
    loss: float
    """Mean over the images of their batch's loss."""
    cross_entropy: float
    attention: float | None
    """Unweighted attention loss; None for transfer learning."""
    mean_auroc: float | None
    """Of the logits that the training steps saw, augmentation and all, while the weights were changing."""
    seconds: float
    data_wait_s: float
    """Seconds in which this process had no batch to work on."""

    def losses(self) -> dict[str, Any]:
        """What the epoch's record in metrics.jsonl says under ``train``."""
        return {
            "loss": self.loss,
            "cross_entropy": self.cross_entropy,
            "attention": self.attention,
            "mean_auroc": self.mean_auroc,
        }


class Meter:
    """Collects over one epoch, on the device."""

    def __init__(self, accelerator: Accelerator, labels: Sequence[str]) -> None:
        self._accelerator = accelerator
        self._labels = labels
        self._rows = Rows(num_labels=len(labels))
        self._sums = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
        self._has_attention = False
        self._steps = self._images = 0
        self._data_wait_s = 0.0
        self._started = time.perf_counter()

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches themselves; the time spent waiting for each is added up."""
        iterator, asked = iter(batches), self._started  # the first one takes as long as the loader takes to start
        while True:
            batch = next(iterator, None)
            self._data_wait_s += time.perf_counter() - asked
            if batch is None:
                return
            yield batch
            asked = time.perf_counter()

    def add(self, batch: Batch, logits: Tensor, losses: Losses) -> None:
        """Count one step of this process."""
        none = losses.total.new_zeros(())
        attention = none if losses.attention is None else losses.attention
        self._has_attention = losses.attention is not None
        parts = torch.stack([losses.total.detach(), losses.cross_entropy.detach(), attention.detach()])
        self._sums += parts * len(batch.images)
        self._rows.add(batch, logits)
        self._steps += 1
        self._images += batch.global_size

    def result(self) -> TrainedEpoch:
        """Means over all processes; a collective call, and the only one that waits for the device.

        Raises:
            FloatingPointError: when a loss was not finite.
        """
        totals = self._accelerator.reduce(self._sums, "sum").cpu().numpy() / max(1, self._images)
        if not np.isfinite(totals).all():
            names = ", ".join(
                name
                for name, value in zip(("loss", "cross-entropy", "attention loss"), totals, strict=True)
                if not np.isfinite(value)
            )
            raise FloatingPointError(f"training diverged: {names} not finite; lower schedule.learning_rate")
        seconds = time.perf_counter() - self._started
        seen = self._rows.gathered(self._accelerator)
        return TrainedEpoch(
            steps=self._steps,
            images=self._images,
            loss=float(totals[0]),
            cross_entropy=float(totals[1]),
            attention=float(totals[2]) if self._has_attention else None,
            mean_auroc=mean_defined(auroc(seen.logits, seen.targets, self._labels).values()),
            seconds=seconds,
            data_wait_s=self._data_wait_s,
        )
