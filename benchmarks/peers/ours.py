"""The project's own loader, tier by tier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.common.pictures import FLIP_PROBABILITY, ROTATION_DEG, Pictures
from benchmarks.common.timing import EPOCH_STARTS
from benchmarks.peers.arrivals import Arrivals
from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.loading.batch import Loader
from datasets.loading.options import LoaderOptions, Output
from datasets.loading.prefetch import DevicePrefetcher
from datasets.loading.tiers import Tier, open_tier

AUGMENT = Augment(rotation_deg=ROTATION_DEG, flip_probability=FLIP_PROBABILITY)


def raw_float32(pictures: Pictures) -> Iterator[int]:
    """Raw stream, flipped, rotated and normalised on the CPU: what ``cxr train`` runs there."""
    return _prefetch(pictures, "raw", "cpu")


def raw_uint8(pictures: Pictures) -> Iterator[int]:
    """Raw stream, flipped and rotated on the CPU."""
    return _deliver(_open(pictures, "raw", AUGMENT))


def raw_pages(pictures: Pictures) -> Iterator[int]:
    """Raw stream, pages as they are: the device augments."""
    return _deliver(_open(pictures, "raw", None))


def resident_pages(pictures: Pictures) -> Iterator[int]:
    """Resident tier in the host's memory, pages as they are."""
    return _deliver(_open(pictures, "resident", None))


def jpeg_pages(pictures: Pictures) -> Iterator[int]:
    """JPEG stream: decoding alone."""
    return _deliver(_open(pictures, "jpeg", None))


def jpeg_uint8(pictures: Pictures) -> Iterator[int]:
    """JPEG stream, flipped and rotated on the CPU."""
    return _deliver(_open(pictures, "jpeg", AUGMENT))


def raw_device(pictures: Pictures) -> Iterator[int]:
    """Raw stream, everything after the page on the GPU."""
    return _prefetch(pictures, "raw", "cuda")


def jpeg_device(pictures: Pictures) -> Iterator[int]:
    """JPEG stream, decoded and augmented on the GPU."""
    return _prefetch(pictures, "jpeg", "cuda")


def resident_device(pictures: Pictures) -> Iterator[int]:
    """Resident tier in the GPU's memory."""
    return _prefetch(pictures, "resident", "cuda")


def _open(
    pictures: Pictures, tier: Tier, augment: Augment | None, *, device: str = "cpu", output: Output = "uint8"
) -> Loader:
    beton = Beton.open(Path(pictures.jpeg_beton if tier == "jpeg" else pictures.beton))
    options = LoaderOptions(
        batch_size=pictures.batch_size, shuffle=True, augment=augment, output=output, num_workers=pictures.workers
    )
    return open_tier(beton, np.arange(beton.num_samples), options, tier=tier, device=device)


def _deliver(loader: Loader) -> Iterator[int]:
    epoch = 0
    while True:
        yield EPOCH_STARTS
        with loader.epoch(epoch) as batches:
            for batch in batches:
                yield batch.images.shape[0]
        epoch += 1


def _prefetch(pictures: Pictures, tier: Tier, device: str) -> Iterator[int]:
    """Network input on the device, made as ``harness.training.build`` and ``harness.training.loop`` make it."""
    prefetcher = DevicePrefetcher(_open(pictures, tier, AUGMENT, device=device, output="auto"), device)
    epoch = 0
    while True:
        yield EPOCH_STARTS
        with prefetcher.epoch(epoch) as batches:
            arrivals = Arrivals() if device == "cuda" else None
            for batch in batches:
                if arrivals is not None:
                    arrivals.wait_behind(batch.inputs)
                yield len(batch.inputs)
        epoch += 1
