"""Open a beton on the tier that suits data and device: resident in memory, or streamed from the file.

Every tier yields the same samples in the same order with the same pixels, so the choice changes speed and memory
alone, and processes of one run may choose differently.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import psutil  # type: ignore[import-untyped]
import torch

from datasets.beton.format import Encoding
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.loading.batch import Loader
from datasets.loading.device_jpeg import decoding_problem
from datasets.loading.epoch_plan import EpochPlan
from datasets.loading.options import SINGLE_PROCESS, LoaderOptions, ShardOptions
from datasets.loading.resident import ResidentLoader
from datasets.loading.stream import BetonLoader

Tier = Literal["auto", "raw", "jpeg", "resident"]

DEVICE_SHARE = 0.4
"""Of the free memory of a GPU; the rest is for the network, its gradients and its activations."""
HOST_SHARE = 0.25
"""Of the free memory of the host, over all processes of a launcher together."""
CGROUP_ROOT = Path("/sys/fs/cgroup")

logger = logging.getLogger(__name__)


def choose_tier(
    tier: Tier, encoding: Encoding, *, page_bytes: int, room_bytes: int
) -> Literal["raw", "jpeg", "resident"]:
    """Which tier serves pages of ``page_bytes`` together, where ``room_bytes`` may be taken for them.

    Raises:
        InputError: when the beton is not encoded as the tier asks.
    """
    if tier in ("raw", "jpeg") and tier != encoding:
        raise InputError(
            f"tier {tier}: the beton holds {encoding} pages; use tier {encoding}, resident or auto, or convert "
            f"with --encoding {tier}"
        )
    if tier == "auto":
        return "resident" if page_bytes <= room_bytes else encoding
    return tier


def open_tier(
    beton: Beton,
    indices: np.ndarray,
    options: LoaderOptions,
    *,
    tier: Tier = "auto",
    shard: ShardOptions = SINGLE_PROCESS,
    device: torch.device | str = "cpu",
) -> Loader:
    """Open ``indices`` (N,) of a beton for reading by the network on ``device``.

    ``datasets.loading.prefetch.DevicePrefetcher`` makes network input on the device of the loader's batches. Tier
    ``auto`` keeps the pages in memory if they fit well, else streams them, and logs which.

    Raises:
        InputError: when the tier does not suit the beton, or the options cannot work together.
        MemoryError: when a resident set that was asked for does not fit.
    """
    device = torch.device(device)
    options = resolved(options, device)
    home = device if options.augment is None or options.augment_on == "device" else torch.device("cpu")
    page_bytes = len(indices) * beton.image_size**2
    room_bytes = room_for_pages(home) if tier == "auto" else 0
    chosen = choose_tier(tier, beton.encoding, page_bytes=page_bytes, room_bytes=room_bytes)
    if tier == "auto" and shard.rank == 0:
        sizes = f"{page_bytes / 1e6:,.1f} MB of pages, room for {max(0, room_bytes) / 1e6:,.0f} MB"
        why = "they fit in memory" if chosen == "resident" else "they are streamed from the file"
        logger.info("%s: %s images on tier %s: %s: %s", beton.path.name, f"{len(indices):,}", chosen, sizes, why)
    if chosen == "resident":
        plan = EpochPlan.make(indices, beton.num_samples, str(beton.path), options, shard)
        return ResidentLoader(beton, plan, options, device)
    decode_on = device if chosen == "jpeg" and options.augment_on == "device" and device.type == "cuda" else None
    if decode_on is not None and (problem := decoding_problem(device)):
        logger.warning(problem)
        decode_on = None
    pin_memory = device.type == "cuda"
    return BetonLoader(beton, indices, options, shard=shard, pin_memory=pin_memory, decode_on=decode_on)


def resolved(options: LoaderOptions, device: torch.device) -> LoaderOptions:
    """The same options with "auto" decided for a network on ``device``.

    Raises:
        InputError: for network input made on the CPU of images that the device is to augment.
    """
    augment_on, output = options.augment_on, options.output
    if augment_on == "auto":
        augment_on = "device" if device.type == "cuda" else "cpu"
    if output == "auto":
        output = "float32" if device.type == "cpu" and augment_on == "cpu" else "uint8"
    if output == "float32" and augment_on == "device" and options.augment is not None:
        raise InputError("output float32 is made by the loader's threads; it cannot be left to the device to augment")
    return replace(options, augment_on=augment_on, output=output)


def room_for_pages(device: torch.device) -> int:
    """Bytes that pages may take on ``device``: a share of what is free at this moment."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * DEVICE_SHARE)
    return int(free_host_memory() * HOST_SHARE) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def free_host_memory() -> int:
    """Bytes that this process could still take: what the system has, within the limit of its control group."""
    free = int(psutil.virtual_memory().available)
    left = _left_in_cgroup(CGROUP_ROOT)
    return free if left is None else min(free, left)


def _left_in_cgroup(root: Path) -> int | None:
    """Bytes below the memory limit of this process's control group, as SLURM and containers set it; None if none."""
    names = (("memory.max", "memory.current", ""), ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory"))
    left = []
    for limit_name, used_name, controller in names:
        for folder in _own_groups(root, controller):
            try:
                limit = (folder / limit_name).read_text(encoding="ascii").strip()
                used = (folder / used_name).read_text(encoding="ascii").strip()
            except OSError:
                continue
            if limit.isdigit() and used.isdigit():
                left.append(max(0, int(limit) - int(used)))
    return min(left, default=None)


def _own_groups(root: Path, controller: str) -> list[Path]:
    """Folders of the control group that this process is in and of all groups above it."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") if controller else controllers == "":
            own = root / controller / path.lstrip("/")
            return [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
    return []
