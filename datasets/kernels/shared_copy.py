"""Addresses of pages and the memory for a batch come in; several threads copy until all pages are there.

A batch is copied in less time than Python needs to wake a thread. So a helper stays in compiled code for a moment
after a batch, where it needs neither the GIL nor to be woken, and looks at a board for the next one. There is one
batch on a board at a time; who comes with another one takes part in the one that is there first.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from functools import cache
from typing import Any

import numpy as np
from numba import types

from datasets.kernels.addresses import (
    LINE_BYTES,
    add_atomically,
    copy_bytes,
    exchange_atomically,
    fetch_to_read,
    fetch_to_write,
    load_atomically,
    load_int64,
    store_atomically,
)
from datasets.kernels.shared_work import CACHE_LINE, help_with
from datasets.kernels.threads import inlined_kernel

PATIENCE_NS = 200_000
"""How long a helper looks at a board on which nothing is left: longer than a consumer needs that only takes batches.
One that computes between them shall have the core for itself."""

NEXT, DONE, OWNER, SOURCES = (CACHE_LINE * line for line in range(4))
TARGET, NUM_BYTES = SOURCES + 1, SOURCES + 2
"""Where a board's numbers stand: those that several threads write each in a line of its own."""
NOBODY, ARRIVING = 0, -1
"""OWNER holds the number of the batch that is on the board, or one of these."""
COUNT_SHIFT, NUMBER_MASK = 32, (1 << 32) - 1
"""NEXT holds the number of pages above, the page to be taken next below."""

PIECE_BYTES, AHEAD_BYTES = 1024, 4096
"""Memory is asked for 4 KiB ahead of the copy; processors themselves look to the end of such a page at most."""
MONOTONIC = time.CLOCK_MONOTONIC

Array = Any
_yield = types.ExternalFunction("sched_yield", types.int32())
_read_clock = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.int64))


@inlined_kernel
def _copy_page(source: int, target: int, num_bytes: int) -> None:
    """Copy a page from one address to another.

    Asking for the memory ahead, on both sides, makes it twice as fast as ``memcpy`` alone where the batches' memory
    is still in the last cache.
    """
    whole = num_bytes - num_bytes % PIECE_BYTES
    for at in range(0, whole, PIECE_BYTES):
        if at + AHEAD_BYTES < num_bytes:
            for line in range(at + AHEAD_BYTES, at + AHEAD_BYTES + PIECE_BYTES, LINE_BYTES):
                fetch_to_read(source + line)
                fetch_to_write(target + line)
        copy_bytes(target + at, source + at, PIECE_BYTES)
    copy_bytes(target + whole, source + whole, num_bytes - whole)


@inlined_kernel
def _copy_what_is_left(board: Any) -> None:
    """Copy page after page of the batch on the board at this address."""
    word = add_atomically(board + 8 * NEXT, 1)
    while word & NUMBER_MASK < word >> COUNT_SHIFT:
        # Number and count are one word, so a number below the count is a page of the batch that is there now, and
        # that batch stays until this page is counted as done. What else is on the board must not be read earlier.
        page = word & NUMBER_MASK
        source, num_bytes = load_int64(load_int64(board, SOURCES), page), load_int64(board, NUM_BYTES)
        _copy_page(source, load_int64(board, TARGET) + page * num_bytes, num_bytes)
        add_atomically(board + 8 * DONE, 1)
        word = add_atomically(board + 8 * NEXT, 1)


@inlined_kernel
def _finish(board: Any, number: int) -> None:
    """Take part until the batch of this number is there, and free the board; others may have done both."""
    owner = board + 8 * OWNER
    if load_atomically(owner) == number:
        _copy_what_is_left(board)
    while load_atomically(owner) == number:
        done, count = load_atomically(board + 8 * DONE), load_atomically(board + 8 * NEXT) >> COUNT_SHIFT
        # No number comes twice, so both were this batch's if it is still the owner.
        if load_atomically(owner) == number and done >= count:
            exchange_atomically(owner, number, NOBODY)
        else:
            _yield()


@inlined_kernel
def _begin(board: Any, number: int, sources: Array, target: int, num_bytes: int) -> None:
    """Put a batch on the board as soon as that is free."""
    owner = board + 8 * OWNER
    while not exchange_atomically(owner, NOBODY, ARRIVING):
        other = load_atomically(owner)
        if other > NOBODY:
            _finish(board, other)
        else:
            _yield()
    store_atomically(board + 8 * SOURCES, sources.ctypes.data)
    store_atomically(board + 8 * TARGET, target)
    store_atomically(board + 8 * NUM_BYTES, num_bytes)
    store_atomically(board + 8 * DONE, 0)
    store_atomically(board + 8 * NEXT, np.int64(len(sources)) << COUNT_SHIFT)
    store_atomically(owner, number)


@inlined_kernel
def copy_together(board: Array, number: int, sources: Array, target: int, num_bytes: int) -> None:
    """Copy ``num_bytes`` from each of the addresses ``sources`` (B,) int64 to ``target``, one after another.

    ``target`` is an address, too; ``number``, above 0, is this batch's own.
    """
    at = np.int64(board.ctypes.data)
    _begin(at, number, sources, target, num_bytes)
    _finish(at, number)


@inlined_kernel
def _now_ns(scratch: Array) -> Any:
    _read_clock(MONOTONIC, scratch.ctypes.data)
    return scratch[0] * 1_000_000_000 + scratch[1]


@inlined_kernel
def help_copying(board: Array, patience_ns: int) -> None:
    """Take part in the batches on a board until there has been none for ``patience_ns``."""
    at, scratch = np.int64(board.ctypes.data), np.zeros(2, dtype=np.int64)
    until = _now_ns(scratch) + patience_ns
    while _now_ns(scratch) < until:
        word = load_atomically(at + 8 * NEXT)
        if word & NUMBER_MASK < word >> COUNT_SHIFT:
            _copy_what_is_left(at)
            until = _now_ns(scratch) + patience_ns
        else:
            _yield()


class Crew:
    """A board and those who look at it: the calling thread and ``num_threads - 1`` helpers."""

    def __init__(self, num_threads: int) -> None:
        self.board = np.zeros(4 * CACHE_LINE, dtype=np.int64)
        self._wanted = num_threads - 1
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._present = 0

    def copy(self, sources: np.ndarray, target: int, num_bytes: int) -> None:
        """``copy_together`` with helpers, who are called if they have gone."""
        if self._present < self._wanted and len(sources) > 1:
            self._call()
        copy_together(self.board, next(self._numbers), sources, target, num_bytes)

    def _call(self) -> None:
        with self._lock:
            missing = self._wanted - self._present
            help_with(missing, self._help)
            self._present += missing

    def _help(self) -> None:
        try:
            help_copying(self.board, PATIENCE_NS)
        finally:
            with self._lock:
                self._present -= 1


@cache
def crew_of(num_threads: int) -> Crew:
    """The one crew of this size; so no loader has more threads at work for it than it was given."""
    return Crew(num_threads)


# A forked process has no helpers, and its board would be as another thread had it in its hands at that moment.
os.register_at_fork(after_in_child=crew_of.cache_clear)
