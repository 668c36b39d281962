"""Measure one epoch of training: losses, AUROC, waiting times and speed.

Nothing is read from the device before the epoch's end or a checkpoint, so measuring never makes the device wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from datasets.loading.batch import Batch
from harness.devices.accelerator import Accelerator
from harness.evaluation.inference import Rows
from harness.evaluation.metrics import auroc, mean_defined
from harness.objectives import Losses
from harness.runs.train_state import PartialEpoch

Item = TypeVar("Item")


class EpochMeter:
    """Collects over one epoch, on the device; of a resumed epoch it goes on from what was measured before."""

    def __init__(
        self,
        accelerator: Accelerator,
        labels: Sequence[str],
        before: PartialEpoch | None = None,
        *,
        accumulate: int = 1,
    ) -> None:
        self._accumulate = accumulate
        self._accelerator = accelerator
        self._labels = labels
        self._rows = Rows(num_labels=len(labels))
        self._sums = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
        self._has_attention = False
        self.batches = self._images = self._measured = 0
        self._skipped: int | Tensor = 0
        self.data_wait_s = 0.0
        self._started = time.perf_counter()
        if before is not None:
            self._restore(before)

    def _restore(self, before: PartialEpoch) -> None:
        self.batches, self._skipped = before.batches, before.skipped
        self._images, self._measured = before.images, before.measured
        self.data_wait_s = before.data_wait_s
        self._started -= before.seconds
        self._has_attention = before.has_attention
        first = self._accelerator.process_index == 0
        if len(before.sums) == self._accelerator.num_processes:  # each process its own: the same order of additions
            self._sums += before.sums[self._accelerator.process_index].to(self._sums.device)
        elif first:
            self._sums += before.sums.sum(0).to(self._sums.device)
        if first:
            rows = Batch(before.logits[:0], before.targets, before.indices, 0)
            self._rows.add(rows, before.logits.to(self._accelerator.device))

    @property
    def seconds(self) -> float:
        """Time since the epoch's start, over all starts of the run."""
        return time.perf_counter() - self._started

    def timed(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The batches themselves; the time spent waiting for each is added up."""
        iterator, asked = iter(batches), time.perf_counter()
        while True:
            batch = next(iterator, None)
            self.data_wait_s += time.perf_counter() - asked
            if batch is None:
                return
            yield batch
            asked = time.perf_counter()

    def add(self, batch: Batch, logits: Tensor, losses: Losses) -> None:
        """Count one batch of this process."""
        none = losses.total.new_zeros(())
        attention = none if losses.attention is None else losses.attention
        self._has_attention = losses.attention is not None
        parts = torch.stack([losses.total.detach(), losses.cross_entropy.detach(), attention.detach()])
        self._sums += parts * len(batch.images)
        self._rows.add(batch, logits)
        self._measured += batch.global_size
        self.leave_out(batch)

    def leave_out(self, batch: Batch) -> None:
        """Count one batch whose numbers were no numbers, which is in no mean."""
        self.batches += 1
        self._images += batch.global_size

    def count_step(self, left_out: bool | Tensor) -> None:
        """Count an optimiser step, which was made or ``left_out``."""
        self._skipped = self._skipped + left_out

    def snapshot(self) -> PartialEpoch:
        """What a checkpoint keeps of this epoch; a collective call that waits for the device."""
        rows = self._rows.gathered(self._accelerator)
        return PartialEpoch(
            batches=self.batches,
            skipped=int(self._skipped),
            images=self._images,
            measured=self._measured,
            seconds=self.seconds,
            data_wait_s=self.data_wait_s,
            has_attention=self._has_attention,
            sums=self._accelerator.gather(self._sums[None]).cpu(),
            indices=torch.from_numpy(rows.indices),
            logits=torch.from_numpy(rows.logits),
            targets=torch.from_numpy(rows.targets),
            accumulate=self._accumulate,
        )


def means(epoch: PartialEpoch, labels: Sequence[str]) -> dict[str, float | None]:
    """What the record of a whole epoch says under ``train``: means over images, attention None without a teacher.

    The AUROC is of the logits that the steps saw, augmentation and all, while the weights were changing.

    Raises:
        FloatingPointError: when no batch of it has numbers.
    """
    if epoch.measured == 0:
        raise FloatingPointError(
            f"training diverged: none of the epoch's {epoch.batches} steps had a finite gradient; lower "
            "schedule.learning_rate"
        )
    loss, cross_entropy, attention = (epoch.sums.sum(0) / epoch.measured).tolist()
    return {
        "loss": loss,
        "cross_entropy": cross_entropy,
        "attention": attention if epoch.has_attention else None,
        "mean_auroc": mean_defined(auroc(epoch.logits.numpy(), epoch.targets.numpy(), labels).values()),
    }
