"""WebDataset: tar shards, shuffled in a buffer, read in a DataLoader's workers; OpenCV does the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds

from benchmarks.common.pictures import PREFETCH, Pictures
from benchmarks.common.pixels import float_sample, start_worker

SHARDS_PER_WORKER = 4
SHUFFLED = 1000


def batches(pictures: Pictures) -> Iterator[Any]:
    """Float batches, stacked in the workers, again and again."""
    shards = write_shards(pictures)
    dataset = (
        wds.WebDataset(shards, resampled=True, nodesplitter=wds.split_by_node)
        .shuffle(SHUFFLED)
        .to_tuple("jpg")
        .map(partial(_sample, pictures))
        .batched(pictures.batch_size, collation_fn=torch.stack)
    )
    loader = wds.WebLoader(
        dataset,
        batch_size=None,
        num_workers=pictures.workers,
        prefetch_factor=PREFETCH,
        worker_init_fn=start_worker,
        persistent_workers=True,
    )
    return iter(loader)


def _sample(pictures: Pictures, sample: tuple[bytes]) -> torch.Tensor:
    return float_sample(np.frombuffer(sample[0], dtype=np.uint8), pictures)


def write_shards(pictures: Pictures) -> list[str]:
    """The JPEG files in some tar files for each worker."""
    folder = Path(pictures.folder)
    in_each = -(-len(pictures.jpeg) // (SHARDS_PER_WORKER * pictures.workers))
    with wds.ShardWriter(str(folder / "shard-%03d.tar"), maxcount=in_each, verbose=0) as shards:
        for position, path in enumerate(pictures.jpeg):
            shards.write({"__key__": f"{position:08d}", "jpg": Path(path).read_bytes()})
    return sorted(map(str, folder.glob("shard-*.tar")))
