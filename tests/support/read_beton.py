"""Read all that a beton holds, on every way that the product has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.beton.summary import describe
from datasets.beton.verify import verify
from datasets.loading.options import LoaderOptions
from datasets.loading.tiers import open_tier


def read_beton(path: str) -> None:
    """Open, describe, read, stream and verify it."""
    beton = Beton.open(Path(path))
    describe(beton)
    beton.indices("train", "1")
    indices = np.arange(min(beton.num_samples, 100))
    beton.gather(indices)
    options = LoaderOptions(batch_size=4, shuffle=True, augment=Augment(), num_workers=1)
    for tier in (beton.encoding, "resident"):
        with open_tier(beton, indices, options, tier=tier).epoch(0) as batches:  # type: ignore[arg-type]
            list(batches)
    verify(beton)
