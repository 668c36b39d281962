"""Interface of all loaders and of their batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

from datasets.augment.policy import Augment
from datasets.loading.epoch_plan import EpochPlan


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's part of one step. The tensors are the holder's own: no later batch is written over them."""

    images: torch.Tensor
    """(B, 1, S, S) uint8, or (B, 3, S, S) float32 in channels_last; page-locked where there is CUDA."""
    targets: torch.Tensor
    """(B, L) uint8: 0 negative, 1 positive, 255 ignored."""
    indices: torch.Tensor
    """(B,) int64 sample indices; draw numbers where groups are balanced (``datasets.loading.balance``)."""
    global_size: int
    """Samples of this step over all ranks together."""


class Batches(AbstractContextManager["Batches"], Iterator[Batch]):
    """The batches of one epoch, of any tier. Use it in a ``with`` block, or read it to its end."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether there is a next batch that can be had without waiting."""

    @abstractmethod
    def close(self) -> None:
        """Release all that the epoch holds. Harmless when called again; there are no batches afterwards."""

    def __exit__(self, *exc: object) -> None:
        self.close()


class Loader(ABC):
    """Source of batches of chosen samples of a beton, epoch by epoch, for one of several ranks.

    Samples, their order and, before augmentation, their pixels follow from the plan alone.
    """

    tier: str
    """raw, jpeg or resident."""

    def __init__(self, plan: EpochPlan, *, device_augment: Augment | None = None) -> None:
        self.plan = plan
        self.device_augment = device_augment
        """The augmentation that the batches still lack and ``datasets.loading.prefetch`` does on the device."""

    def __len__(self) -> int:
        """Steps of an epoch; in evaluation a rank may have no part in the last one and then yields one less."""
        return len(self.plan.sizes)

    @property
    def indices(self) -> np.ndarray:
        """The chosen samples (N,) uint64."""
        return self.plan.indices

    @abstractmethod
    def epoch(self, epoch: int, start_step: int = 0) -> Batches:
        """Return the batches of one epoch from ``start_step`` on."""
