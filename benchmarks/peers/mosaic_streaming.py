"""MosaicML Streaming: MDS shards on the local disk in a DataLoader's workers; OpenCV does the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from streaming import MDSWriter, StreamingDataset

from benchmarks.common.data_loader import loader_of
from benchmarks.common.pictures import Pictures
from benchmarks.common.pixels import float_sample, start_worker
from benchmarks.common.timing import EPOCH_STARTS


class Shards(StreamingDataset):  # type: ignore[misc]
    """Samples of the shards as augmented, normalised (3, S, S) float32."""

    def __init__(self, folder: Path, pictures: Pictures, **settings: Any) -> None:
        super().__init__(local=str(folder), **settings)
        self.pictures = pictures

    def __getitem__(self, index: Any) -> torch.Tensor:
        data = np.frombuffer(super().__getitem__(index)["jpeg"], dtype=np.uint8)
        return float_sample(data, self.pictures)


def batches(pictures: Pictures) -> Iterator[Any]:
    """Float batches, stacked in the workers."""
    folder = Path(pictures.folder) / "mds"
    with MDSWriter(out=str(folder), columns={"jpeg": "bytes"}) as writer:
        for path in pictures.jpeg:
            writer.write({"jpeg": Path(path).read_bytes()})
    dataset = Shards(folder, pictures, shuffle=True, batch_size=pictures.batch_size)
    loader = loader_of(dataset, pictures, batch_size=pictures.batch_size, worker_init_fn=start_worker)
    while True:
        yield EPOCH_STARTS
        yield from loader
