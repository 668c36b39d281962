"""A beton, chosen samples and a device come in; the loader of the tier that suits them goes out.

Every tier hands out the same samples in the same order with the same pixels, so the choice changes speed and memory
alone, and processes of one run may choose differently.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.loading.device_jpeg import can_decode
from datasets.loading.epoch_plan import EpochPlan
from datasets.loading.free_memory import room_for_pages
from datasets.loading.resident import ResidentLoader
from datasets.loading.stream import BetonLoader, Loader

Tier = Literal["auto", "raw", "jpeg", "resident"]
AugmentOn = Literal["auto", "cpu", "device"]
Encoding = Literal["raw", "jpeg"]


@dataclass(frozen=True)
class Choice:
    """A tier, and why it was chosen."""

    tier: Literal["raw", "jpeg", "resident"]
    reason: str


def choose_tier(tier: Tier, encoding: Encoding, *, page_bytes: int, room_bytes: int) -> Choice:
    """Which tier serves pages of ``page_bytes`` together, where ``room_bytes`` may be taken for them.

    Raises:
        InputError: when the beton is not encoded as the tier asks.
    """
    if tier == "resident":
        return Choice("resident", "asked for")
    if tier in ("raw", "jpeg"):
        if tier != encoding:
            raise InputError(
                f"tier {tier}: the beton holds {encoding} pages; use tier {encoding}, resident or auto, or convert "
                f"with --encoding {tier}"
            )
        return Choice(encoding, "asked for")
    sizes = f"{page_bytes / 1e6:,.1f} MB of pages, room for {max(0, room_bytes) / 1e6:,.0f} MB"
    if page_bytes <= room_bytes:
        return Choice("resident", f"{sizes}: they fit in memory")
    return Choice(encoding, f"{sizes}: they are streamed from the file")


def _device_decodes(tier: str, augment_on: str, device: torch.device) -> bool:
    """Whether JPEGs go to the device as they are: only where it can decode them and does the rest as well."""
    return tier == "jpeg" and augment_on == "device" and device.type == "cuda" and can_decode(device)


def _augmenting(augment_on: AugmentOn, device: torch.device) -> Literal["cpu", "device"]:
    """Who flips and rotates: as asked for, else the device if it is CUDA."""
    if augment_on == "auto":
        return "device" if device.type == "cuda" else "cpu"
    return augment_on


def open_tier(
    beton: Beton,
    indices: np.ndarray,
    tier: Tier = "auto",
    *,
    batch_size: int,
    shuffle: bool,
    seed: int = 0,
    augment: Augment | None = None,
    augment_on: AugmentOn = "auto",
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    num_workers: int | None = None,
) -> Loader:
    """Open ``indices`` of a beton for reading by the network on ``device``.

    Args:
        beton: the file.
        indices: (N,) chosen samples.
        tier: ``auto`` keeps the pages in memory if they fit well, else streams them, and says so on standard error.
        batch_size: images of one step over all ranks.
        shuffle: training: a new order each epoch.
        seed: decides order and augmentation.
        augment: None hands out pages as they are stored.
        augment_on: who flips and rotates: threads of the loader, or the device (``datasets.loading.feed``);
        ``auto`` takes the device if it is CUDA. The CPU tiers agree to the bit, the device with them within
        one gray level. device: where the network is.
        rank: this process's number.
        world_size: number of processes.
        num_workers: loader threads; the usable cores when None.

    Raises:
        InputError: when the tier does not suit the beton, or the numbers cannot work together.
        MemoryError: when a resident set that was asked for does not fit.
    """
    device = torch.device(device)
    place = _augmenting(augment_on, device)
    home = device if augment is None or place == "device" else torch.device("cpu")
    page_bytes = len(indices) * beton.image_size**2
    room_bytes = room_for_pages(home) if tier == "auto" else 0
    choice = choose_tier(tier, beton.encoding, page_bytes=page_bytes, room_bytes=room_bytes)
    if tier == "auto" and rank == 0:
        print(f"{beton.path.name}: {len(indices):,} images on tier {choice.tier}: {choice.reason}", file=sys.stderr)
    order: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle}
    order |= {"rank": rank, "world_size": world_size}
    if choice.tier == "resident":
        plan = EpochPlan.make(indices, beton.num_samples, str(beton.path), **order)
        return ResidentLoader(beton, plan, augment=augment, augment_on=place, device=device, num_workers=num_workers)
    return BetonLoader(
        beton,
        indices,
        augment=augment,
        augment_on=place,
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
        decode_on=device if _device_decodes(choice.tier, place, device) else None,
        **order,
    )
