"""Raw pages read by others: copied by threads that do nothing else, or made network input by a careful user.

The first is the physical limit: pages of the mapped file go into batches that are used again. The second reads the
same bytes as our raw stream and does the same work, so only the loaders differ: a memory map, threads, one OpenCV
warp and one table look-up for each image.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Literal

import numpy as np
import torch

from benchmarks.common.pictures import PREFETCH, Pictures
from benchmarks.peers.data_loader import endless_batches
from benchmarks.peers.pixels import fill_channels_last, start_worker
from datasets.beton.pages import RawPages
from datasets.beton.reader import Beton

IN_FLIGHT = 4
"""Batches that are written in turn, as many as a loader has on the way."""


def batches(pictures: Pictures, *, by: Literal["memcpy", "opencv"]) -> Iterator[int]:
    """Batches of pages, or of network input."""
    return _copied(pictures) if by == "memcpy" else _warped(pictures)


def _copied(pictures: Pictures) -> Iterator[int]:
    """Each thread copies whole batches, one after another, from a random place of the file."""
    beton = Beton.open(Path(pictures.beton))
    pages = beton.open_pages()
    assert isinstance(pages, RawPages)
    blocks = pages.file.data[beton.layout.data_start :][: beton.num_samples * pictures.size**2]
    delivered: Queue[int] = Queue(maxsize=pictures.workers)
    for number in range(pictures.workers):
        arguments = (blocks, pictures.batch_size, pictures.size**2, number, delivered)
        threading.Thread(target=_copy, args=arguments, daemon=True).start()
    while True:
        yield delivered.get()


def _copy(blocks: np.ndarray, batch_size: int, page_bytes: int, seed: int, delivered: Queue[int]) -> None:
    rng = np.random.default_rng(seed)
    num_bytes = batch_size * page_bytes
    targets = [np.zeros(num_bytes, dtype=np.uint8) for _ in range(IN_FLIGHT)]
    while True:
        for target in targets:
            start = int(rng.integers(0, len(blocks) - num_bytes)) // page_bytes * page_bytes
            np.copyto(target, blocks[start : start + num_bytes])
            delivered.put(batch_size)


def _warped(pictures: Pictures) -> Iterator[int]:
    """Whole batches of network input, (B, 3, S, S) float32 in channels_last, each made by one thread."""
    start_worker()
    path, beton = Path(pictures.folder) / "pages.npy", Beton.open(Path(pictures.beton))
    if not path.exists():
        np.save(path, beton.gather(np.arange(beton.num_samples)))
    pages = np.load(path, mmap_mode="r")
    indices = endless_batches(len(pages), pictures.batch_size)
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
