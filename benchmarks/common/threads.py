"""Threads as a careful user sets them up: each fills whole batches, in memory that is used again.

By Python's thread pool or in SPDL's pipeline, whose documents recommend the same: few large tasks for its event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Literal, TypeAlias

import numpy as np
import torch

from benchmarks.common.data_loader import endless_batches
from benchmarks.common.pictures import PREFETCH, Pictures
from benchmarks.common.pixels import start_worker

Pool: TypeAlias = Literal["threads", "spdl"]
Fill: TypeAlias = Callable[[int, np.ndarray], object]
"""Writes the sample of an index to its place in a batch."""


def filled(pictures: Pictures, fill: Fill, *, floats: bool, pool: Pool = "threads") -> Iterator[torch.Tensor]:
    """Batches (B, 3, S, S) float32, or (B, 1, S, S) uint8, in random order."""
    start_worker()
    channels, dtype = (3, np.float32) if floats else (1, np.uint8)
    shape = (pictures.batch_size, channels, pictures.size, pictures.size)
    indices = endless_batches(len(pictures.jpeg), pictures.batch_size)
    # One for the consumer, and as many as are on the way.
    memory = [np.zeros(shape, dtype=dtype) for _ in range(pictures.workers * (PREFETCH + 1) + 1)]
    return (_in_spdl if pool == "spdl" else _in_threads)(fill, indices, memory, pictures.workers)


def _fill(fill: Fill, indices: list[int], out: np.ndarray) -> np.ndarray:
    for index, image in zip(indices, out, strict=True):
        fill(index, image)
    return out


def _in_threads(
    fill: Fill, indices: Iterator[list[int]], free: list[np.ndarray], workers: int
) -> Iterator[torch.Tensor]:
    pending: deque[Future[np.ndarray]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        while True:
            while free:
                pending.append(threads.submit(_fill, fill, next(indices), free.pop()))
            batch = pending.popleft().result()
            yield torch.from_numpy(batch)
            free.append(batch)


def _in_spdl(
    fill: Fill, indices: Iterator[list[int]], memory: list[np.ndarray], workers: int
) -> Iterator[torch.Tensor]:
    from spdl.pipeline import PipelineBuilder

    free: SimpleQueue[np.ndarray] = SimpleQueue()
    for block in memory:
        free.put(block)
    builder = PipelineBuilder().add_source(indices)
    builder = builder.pipe(lambda batch: _fill(fill, batch, free.get()), concurrency=workers)
    pipeline = builder.add_sink(workers * PREFETCH).build(num_threads=workers, max_failures=0)
    with pipeline.auto_stop():
        try:
            for batch in pipeline.get_iterator():
                yield torch.from_numpy(batch)
                free.put(batch)
        finally:
            for block in memory:  # so that no worker waits for one for ever
                free.put(block)
