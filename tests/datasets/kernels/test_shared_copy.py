"""Helpers that look at a board: each page is copied once, one batch at a time, and who has nothing to do sleeps."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from numba import njit
from small_dataset import wait_until
from threads_and_signals import in_threads, stderr_after_ctrl_c

from datasets.kernels.shared_copy import DONE, NOBODY, OWNER, PATIENCE_NS, Crew, _begin, crew_of, help_copying

SIDE = 8
PAGES = np.random.default_rng(0).integers(0, 256, (200, SIDE, SIDE), dtype=np.uint8)


def addresses(array: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Of the rows that are chosen (B,): (B,) int64."""
    return array.ctypes.data + chosen.astype(np.int64) * array[0].nbytes


def copied(crew: Crew, chosen: np.ndarray) -> np.ndarray:
    """The chosen pages, with an untouched page on either side checked."""
    out = np.zeros((len(chosen) + 2, SIDE, SIDE), dtype=np.uint8)
    crew.copy(addresses(PAGES, chosen), out[1:].ctypes.data, SIDE * SIDE)
    assert not out[0].any() and not out[-1].any()
    return out[1:-1]


@pytest.mark.parametrize("num_threads", [2, 3, 5])
def test_thousands_of_small_batches_arrive_whole(num_threads: int) -> None:
    """Batches of every size, so close together that helpers always come late to some of them."""
    crew, rng = Crew(num_threads), np.random.default_rng(num_threads)
    for _ in range(4000):
        chosen = rng.integers(0, len(PAGES), rng.integers(1, 40))
        assert np.array_equal(copied(crew, chosen), PAGES[chosen])
        assert crew.board[DONE] == len(chosen), "each page is counted once, by whoever copied it"


@pytest.mark.parametrize("num_bytes", [0, 1, 511, 1023, 1024, 1025, 4096, 4097, 5121, 50_176, 65_536])
def test_a_page_of_any_size_is_copied_to_its_last_byte_and_no_farther(num_bytes: int) -> None:
    source = np.random.default_rng(1).integers(1, 256, (3, num_bytes), dtype=np.uint8)
    for chosen in (np.array([2, 0, 1]), np.array([1])):
        out = np.zeros(len(chosen) * num_bytes + 3, dtype=np.uint8)
        Crew(2).copy(addresses(source, chosen), out.ctypes.data, num_bytes)
        assert np.array_equal(out[:-3].reshape(len(chosen), num_bytes), source[chosen]) and not out[-3:].any()


def test_threads_at_one_board_get_their_own_pages() -> None:
    crew, results = Crew(3), {seed: [] for seed in range(4)}

    def call(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(2000):
            chosen = rng.integers(0, len(PAGES), rng.integers(1, 40))
            results[seed].append(np.array_equal(copied(crew, chosen), PAGES[chosen]))

    in_threads(call, len(results))
    assert all(found == [True] * 2000 for found in results.values())
    assert crew.board[OWNER] == NOBODY


@njit
def post(board: np.ndarray, number: int, sources: np.ndarray, target: int, num_bytes: int) -> None:
    """Put a batch on the board and leave, as a thread that is held up at this moment."""
    _begin(np.int64(board.ctypes.data), number, sources, target, num_bytes)


def test_a_batch_that_is_on_the_board_is_copied_by_who_comes_next() -> None:
    crew, first, second = Crew(2), np.array([7, 3, 3, 199]), np.array([5, 1])
    out, sources = np.zeros((4, SIDE, SIDE), dtype=np.uint8), addresses(PAGES, first)
    post(crew.board, 1_000_000, sources, out.ctypes.data, SIDE * SIDE)
    assert crew.board[OWNER] == 1_000_000
    assert np.array_equal(copied(crew, second), PAGES[second])
    assert np.array_equal(out, PAGES[first]) and crew.board[OWNER] == NOBODY


def test_a_helper_leaves_when_nothing_comes() -> None:
    started = time.monotonic_ns()
    help_copying(Crew(2).board, 20_000_000)
    assert 20_000_000 <= time.monotonic_ns() - started < 2_000_000_000


def test_helpers_are_called_once_and_again_when_they_have_left() -> None:
    crew, threads = Crew(3), set()
    for _ in range(20):
        copied(crew, np.arange(40))
        assert 0 <= crew._present <= 2
        threads.add(threading.active_count())
        wait_until(lambda: crew._present == 0)
    assert max(threads) == threading.active_count()


def test_an_idle_crew_uses_no_core() -> None:
    crew = Crew(4)
    copied(crew, np.arange(40))
    wait_until(lambda: crew._present == 0)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.02


def test_between_batches_that_come_slowly_helpers_sleep() -> None:
    """A network that computes for 10 ms a batch loses 2 % of one core to each helper at most."""
    crew = Crew(2)
    copied(crew, np.arange(40))
    before = time.process_time()
    for _ in range(50):
        copied(crew, np.arange(40))
        time.sleep(0.01)
    assert time.process_time() - before < 50 * (PATIENCE_NS / 1e9 + 0.002)


def test_a_forked_process_has_a_board_of_its_own() -> None:
    inherited = crew_of(3)
    inherited.board[OWNER] = 1
    child = os.fork()
    if child == 0:
        own = crew_of(3)
        os._exit(0 if own is not inherited and not own.board.any() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert crew_of(3) is inherited
    inherited.board[OWNER] = NOBODY


def test_ctrl_c_ends_a_process_that_copies() -> None:
    code = """
import numpy as np, torch
from datasets.loading.page_ops import copy_pages
pages, out = np.zeros(64 << 16, dtype=np.uint8), torch.zeros((64, 1, 256, 256), dtype=torch.uint8)
offsets, told = np.arange(64, dtype=np.uint64) << np.uint64(16), False
while True:
    copy_pages(pages, offsets, out, num_threads=3)
    if not told:
        told = print("copying", flush=True) is None
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert stderr_after_ctrl_c(process, "copying", 20).endswith("KeyboardInterrupt")
