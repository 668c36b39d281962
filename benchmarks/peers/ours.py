"""The project's own loader, tier by tier."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from benchmarks.common.data_loader import arrived
from benchmarks.common.pictures import Pictures
from benchmarks.common.timing import EPOCH_STARTS
from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.loading.options import LoaderOptions
from datasets.loading.prefetch import DevicePrefetcher
from datasets.loading.tiers import Tier, open_tier


def batches(
    pictures: Pictures, *, tier: Tier, augment: Literal["all", "flip"] | None = None, device: str | None = None
) -> Iterator[Tensor | None]:
    """A tier's batches: network input on ``device``, made as training makes it; without one, pages in host memory.

    ``augment`` flips, or flips and rotates.
    """
    beton = Beton.open(Path(pictures.jpeg_beton if tier == "jpeg" else pictures.beton))
    options = LoaderOptions(
        batch_size=pictures.batch_size,
        shuffle=True,
        augment=Augment(max(pictures.angles) if augment == "all" else 0.0, pictures.flips) if augment else None,
        output="auto" if device else "uint8",
        num_workers=pictures.workers,
    )
    loader = open_tier(beton, np.arange(beton.num_samples), options, tier=tier, device=device or "cpu")
    prefetcher = DevicePrefetcher(loader, device) if device else None
    for epoch in count():
        yield EPOCH_STARTS
        if prefetcher is None:
            with loader.epoch(epoch) as pages:
                yield from (batch.images for batch in pages)
        else:
            with prefetcher.epoch(epoch) as inputs:
                yield from arrived(batch.inputs for batch in inputs)
