"""Raw pages read by a careful user: a memory map, threads, one OpenCV warp and one table look-up for each image.

It reads the same bytes as our raw stream and does the same work, so only the loaders differ.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.common.pictures import PREFETCH, Pictures
from benchmarks.peers.data_loader import EndlessBatches
from benchmarks.peers.pixels import fill_channels_last, start_worker
from datasets.beton.reader import Beton


def batches(pictures: Pictures) -> Iterator[int]:
    """Whole batches of network input, (B, 3, S, S) float32 in channels_last, each made by one thread."""
    start_worker()
    path, beton = Path(pictures.folder) / "pages.npy", Beton.open(Path(pictures.beton))
    if not path.exists():
        np.save(path, beton.gather(np.arange(beton.num_samples)))
    pages = np.load(path, mmap_mode="r")
    indices = iter(EndlessBatches(len(pages), pictures.batch_size))
    pending: deque[Future[torch.Tensor]] = deque()
    with ThreadPoolExecutor(pictures.workers) as threads:
        while True:
            while len(pending) < pictures.workers * PREFETCH:
                pending.append(threads.submit(_load, pages, next(indices)))
            yield len(pending.popleft().result())


def _load(pages: np.ndarray, indices: list[int]) -> torch.Tensor:
    out = np.empty((len(indices), *pages.shape[1:], 3), dtype=np.float32)
    fill_channels_last(pages[indices], out)
    return torch.from_numpy(out).permute(0, 3, 1, 2)
