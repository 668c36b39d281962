"""LitData: JPEGs in its optimised chunks on the local disk, read by its own DataLoader; OpenCV does the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litdata
import numpy as np
import torch

from benchmarks.common.pictures import PREFETCH, Pictures
from benchmarks.common.pixels import float_sample, start_worker
from benchmarks.common.timing import EPOCH_STARTS

CHUNK_BYTES = "64MB"


class Chunks(litdata.StreamingDataset):  # type: ignore[misc]
    """Samples of the chunks as augmented, normalised (3, S, S) float32."""

    def __init__(self, folder: str, pictures: Pictures) -> None:
        super().__init__(folder, shuffle=True, drop_last=True)
        self.pictures = pictures

    def __getitem__(self, index: Any) -> torch.Tensor:
        return float_sample(np.frombuffer(super().__getitem__(index), dtype=np.uint8), self.pictures)


def stored(path: str) -> bytes:
    """What LitData's chunks hold of a file."""
    return Path(path).read_bytes()


def batches(pictures: Pictures) -> Iterator[Any]:
    """Float batches, stacked in the workers."""
    folder = str(Path(pictures.folder) / "litdata")
    litdata.optimize(stored, list(pictures.jpeg), output_dir=folder, chunk_bytes=CHUNK_BYTES, num_workers=1)
    loader = litdata.StreamingDataLoader(
        Chunks(folder, pictures),
        batch_size=pictures.batch_size,
        num_workers=pictures.workers,
        prefetch_factor=PREFETCH,
        persistent_workers=True,
        worker_init_fn=start_worker,
    )
    while True:
        yield EPOCH_STARTS
        yield from loader
