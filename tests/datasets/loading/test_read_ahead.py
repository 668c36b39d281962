"""Pages of coming batches are asked for: which, when, and that the system has them then."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path

import numpy as np
import pytest
from small_beton import write_small_beton

from datasets.beton.format import Encoding
from datasets.loading.options import LoaderOptions
from datasets.loading.read_ahead import AHEAD_BATCHES, AHEAD_PAGES, read_ahead
from datasets.loading.stream import BetonLoader

BATCH = 100
AHEAD = AHEAD_PAGES // BATCH + 1
"""Batches of that size that are asked for when the first one is yielded."""


def followed(num_batches: int, read: list[int]) -> list[tuple[int, list[int]]]:
    """Batches by number as they come, each with the numbers of those asked for by then; ``read`` is the count."""
    asked: list[int] = []
    batches = (np.full(BATCH, number) for number in range(num_batches))
    counts = iter(read)
    made = read_ahead(batches, lambda batch: asked.append(int(batch[0])), read=lambda: (next(counts), 0))
    return [(int(batch[0]), list(asked)) for batch in made]


def test_a_cold_file_is_asked_for_some_batches_ahead() -> None:
    found = followed(6, [0, 1, 2, 3, 4, 5])
    assert found == [(number, list(range(min(6, number + AHEAD)))) for number in range(6)]


def test_a_file_in_the_cache_is_asked_for_once_and_again_when_something_was_read() -> None:
    assert followed(6, [7, 7, 7, 7, 7, 7])[-1] == (5, [0])
    assert followed(6, [7, 7, 7, 8, 8, 8])[-1] == (5, [0, 3])


def test_large_batches_are_asked_for_by_number() -> None:
    asked: list[int] = []
    batches = (np.full(AHEAD_PAGES, number) for number in range(9))
    counts = iter(range(9))
    next(read_ahead(batches, lambda batch: asked.append(int(batch[0])), read=lambda: (next(counts), 0)))
    assert asked == list(range(AHEAD_BATCHES + 1))


def in_cache(mapped: np.ndarray) -> bool:
    """Whether the system has every page of mapped memory that lies wholly within it."""
    begin = -(-mapped.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (mapped.ctypes.data + mapped.size - begin) // mmap.PAGESIZE * mmap.PAGESIZE
    found = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(begin), ctypes.c_size_t(size), found) == 0
    return all(page & 1 for page in found)


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_pages_that_are_needed_come_into_the_cache_without_being_touched(tmp_path: Path, encoding: Encoding) -> None:
    beton = write_small_beton(tmp_path, 600, encoding=encoding)
    pages = beton.open_pages()
    begin, end = pages.offsets[[100, 500]].tolist()
    wanted = pages.file.data[begin:end]
    with beton.path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    pages.will_need(np.arange(100, 500))
    until = time.monotonic() + 20
    while not in_cache(wanted):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_an_epoch_of_a_cold_file_has_the_samples_of_a_warm_one(tmp_path: Path) -> None:
    beton = write_small_beton(tmp_path, 40)
    orders = []
    for _ in range(2):
        with beton.path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        loader = BetonLoader(beton, np.arange(40), LoaderOptions(batch_size=7, shuffle=True))
        with loader.epoch(3) as batches:
            orders.append([batch.indices.tolist() for batch in batches])
        assert orders[-1] == [part.tolist() for part in loader.plan.batches(3)]
    assert orders[0] == orders[1]
