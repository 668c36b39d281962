"""Options of loaders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from datasets.augment.policy import Augment

AugmentOn = Literal["auto", "cpu", "device"]
Output = Literal["auto", "uint8", "float32"]


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """How a loader reads and what its batches hold."""

    batch_size: int
    """Images of one step over all ranks."""
    shuffle: bool
    """Training: a new order each epoch, and every rank takes part in every step. Else the given order, all of it."""
    seed: int = 0
    """Decides order and augmentation."""
    groups: tuple[np.ndarray, ...] = ()
    """Groups of the samples that come equally often in each epoch of training; none for every sample once."""
    augment: Augment | None = None
    """None leaves pixels as they are stored."""
    augment_on: AugmentOn = "auto"
    """Who augments: the loader's threads, or the device (``datasets.loading.prefetch``). ``auto`` takes the
    device if it is CUDA. The CPU tiers agree to the bit, the device with them within one gray level."""
    output: Output = "auto"
    """``uint8`` gray images, or ``float32`` network input as ``to_network_input`` makes it. ``auto`` takes float32
    where the network runs on the CPU and the loader's threads do the augmentation, else uint8."""
    num_workers: int | None = None
    """Threads of the loader; the usable cores when None."""
    check_pages: bool = True
    """Compare each page with its checksum the first time that this process reads it."""


@dataclass(frozen=True)
class ShardOptions:
    """Which share of every batch this process reads."""

    rank: int = 0
    world_size: int = 1


SINGLE_PROCESS = ShardOptions()
