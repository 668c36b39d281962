"""Raw pages read by others: copied by threads that do nothing else, or made network input by a careful user.

The first is the physical limit: pages of the mapped file go into batches that are used again. The second reads the
same bytes as our raw stream and does the same work, so only the loaders differ: a memory map, threads, one OpenCV
warp and a table look-up for each channel.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any, Literal

import numpy as np

from benchmarks.common.pictures import Pictures
from benchmarks.common.pixels import normalise, warped
from benchmarks.common.threads import Pool, filled
from datasets.beton.reader import Beton

IN_FLIGHT = 4
"""Batches that are written in turn, as many as a loader has on the way."""


def batches(
    pictures: Pictures, *, by: Literal["memcpy", "opencv"], pool: Pool = "threads", output: str = "float32"
) -> Iterator[Any]:
    """Batches of pages (B, S, S) uint8, of augmented ones (B, 1, S, S), or of network input (B, 3, S, S) float32."""
    beton, size = Beton.open(Path(pictures.beton)), pictures.size
    mapped = np.memmap(beton.path, mode="r").view(np.ndarray)
    starts = beton.layout.offsets(beton.num_samples)
    if by == "memcpy":
        return _copied(mapped[int(starts[0]) :][: beton.num_samples * size**2].reshape(-1, size, size), pictures)
    pages = [mapped[start : start + size**2].reshape(size, size) for start in starts.tolist()]

    def fill(index: int, out: np.ndarray) -> None:
        image = warped(pages[index], pictures)
        if output == "float32":
            normalise(image, out)
        else:
            out[0] = image

    return filled(pictures, fill, floats=output == "float32", pool=pool)


def _copied(pages: np.ndarray, pictures: Pictures) -> Iterator[np.ndarray]:
    """Each thread copies whole batches, one after another, from a random place of the file."""
    delivered: Queue[np.ndarray] = Queue(maxsize=pictures.workers)
    for number in range(pictures.workers):
        arguments = (pages, pictures.batch_size, number, delivered)
        threading.Thread(target=_copy, args=arguments, daemon=True).start()
    while True:
        yield delivered.get()


def _copy(pages: np.ndarray, batch_size: int, seed: int, delivered: Queue[np.ndarray]) -> None:
    rng = np.random.default_rng(seed)
    targets = np.zeros((IN_FLIGHT, batch_size, *pages.shape[1:]), dtype=np.uint8)
    while True:
        for target in targets:
            start = int(rng.integers(0, len(pages) - batch_size + 1))
            np.copyto(target, pages[start : start + batch_size])
            delivered.put(target)
