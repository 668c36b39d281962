"""The physical limit: threads that do nothing but copy pages of the mapped file into batches that are used again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import numpy as np

from benchmarks.common.pictures import Pictures
from datasets.beton.reader import Beton

IN_FLIGHT = 4
"""Batches that are written in turn, as many as a loader has on the way."""


def batches(pictures: Pictures) -> Iterator[int]:
    """Each thread copies whole batches, one after another, from a random place of the file."""
    beton = Beton.open(Path(pictures.beton))
    blocks = beton.open_pages().file.data[beton.layout.data_start :][: beton.num_samples * pictures.size**2]
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
