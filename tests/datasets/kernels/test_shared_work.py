"""Threads that share a batch: each page arrives once, memory is given back, and nothing piles up."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threads_and_signals import in_threads

from datasets.augment.policy import Augment
from datasets.kernels.batch_memory import BatchMemory
from datasets.kernels.shared_work import unowned
from datasets.loading.page_ops import begin_to_warp, copy_pages

SIDE = 16
PAGES = np.random.default_rng(0).integers(0, 256, (50, SIDE, SIDE), dtype=np.uint8)


def copied(chosen: np.ndarray, num_threads: int) -> np.ndarray:
    """The chosen pages as a batch."""
    out = torch.zeros((len(chosen), 1, SIDE, SIDE), dtype=torch.uint8)
    copy_pages(PAGES, chosen.astype(np.uint64) * np.uint64(SIDE * SIDE), out, num_threads=num_threads)
    return out[:, 0].numpy()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 160), st.integers(0, 99))
def test_every_page_arrives_at_its_place(num_threads: int, size: int, seed: int) -> None:
    chosen = np.random.default_rng(seed).integers(0, len(PAGES), size)
    assert np.array_equal(copied(chosen, num_threads), PAGES[chosen])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.lists(st.integers(1, 30), min_size=2, max_size=6), st.booleans())
def test_work_that_was_begun_may_be_finished_later_and_in_any_order(
    num_threads: int, sizes: list[int], backwards: bool
) -> None:
    angles, begun, out = Augment(0.0, 0.0), [], []
    flat = PAGES.reshape(-1)
    flat.flags.writeable = False
    for size in sizes:
        chosen = np.arange(size)
        out.append(torch.zeros((size, 1, SIDE, SIDE), dtype=torch.uint8))
        offsets = chosen.astype(np.uint64) * np.uint64(SIDE * SIDE)
        begun.append(begin_to_warp(flat, offsets, chosen, out[-1], np.uint64(1), angles, num_threads=num_threads))
    for work in begun[::-1] if backwards else begun:
        work.finish()
    for size, images in zip(sizes, out, strict=True):
        assert np.array_equal(images[:, 0].numpy(), PAGES[:size])


def test_callers_in_several_threads_do_not_disturb_each_other() -> None:
    wrong: list[int] = []

    def call(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(300):
            chosen = rng.integers(0, len(PAGES), 30)
            if not np.array_equal(copied(chosen, 3), PAGES[chosen]):
                wrong.append(seed)

    in_threads(call, 3)
    assert wrong == []


def test_helpers_are_as_many_as_were_ever_wanted_and_no_more() -> None:
    copied(np.arange(50), 4)
    before = threading.active_count()
    for num_threads in (2, 3, 4, 1, 4):
        copied(np.arange(50), num_threads)
    assert threading.active_count() == before


def test_a_batch_s_memory_is_free_as_soon_as_the_batch_is_dropped() -> None:
    """However late a helper wakes, it does not hold the batch."""
    memory, offsets = BatchMemory(pin_memory=False), np.arange(40, dtype=np.uint64) * np.uint64(SIDE * SIDE)
    places = set()
    for _ in range(300):
        out = memory.take((40, 1, SIDE, SIDE))
        copy_pages(PAGES, offsets, out, num_threads=3)
        places.add(out.data_ptr())
        del out
    assert len(places) == 1


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


def test_thirty_thousand_batches_leave_no_memory() -> None:
    """numba's own parallel loops keep 7 kB each with TBB, which would be 200 MB here."""

    def work(times: int) -> None:
        for _ in range(times):
            copied(np.arange(4), 2)

    work(3000)
    before = resident_kib()
    work(30_000)
    assert resident_kib() - before < 4 * 1024


def test_a_forked_process_works_alone() -> None:
    code = """
import os, numpy as np, torch
from datasets.loading.page_ops import copy_pages
pages = np.arange(40 * 64, dtype=np.uint8)
def ok():
    out = torch.zeros((40, 1, 8, 8), dtype=torch.uint8)
    copy_pages(pages, np.arange(40, dtype=np.uint64) * np.uint64(64), out, num_threads=3)
    return bool((out.numpy().reshape(-1) == pages).all())
before = ok()
child = os.fork()
if child == 0:
    os._exit(0 if all(ok() for _ in range(50)) else 1)
print(before, os.waitpid(child, 0)[1], ok())
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["True", "0", "True"], done.stderr


def test_unowned_memory_is_the_same_and_keeps_its_rights() -> None:
    array = np.arange(6).reshape(2, 3)
    view = unowned(array)
    view[1, 2] = 77
    assert array[1, 2] == 77 and view.shape == (2, 3) and view.base is not array
    array.flags.writeable = False
    assert not unowned(array).flags.writeable
