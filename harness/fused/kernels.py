"""Rows of numbers, a column for each channel, come in; their moments, normalised rows and gradients go out.

A row is one pixel: channels_last memory (B, H, W, C) as (B*H*W, C), of which the rows may lie further apart than C
where the channels are the first ones of a dense block's buffer. Rows are worked on in chunks, whose size depends on
the shape alone; what is added up over rows is left by chunk, so that sums do not depend on which thread did what.

Each kernel takes the address of its arguments, int64: a counter of chunks, the rows of a chunk, all rows, the
columns, the bytes of a number, and what ``kinds`` below says. Arrays by column are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from datasets.kernels.addresses import add_atomically, load_int64
from datasets.kernels.threads import inlined_kernel
from harness.fused.numbers import load, store

CHUNK_NUMBERS = 1 << 16
"""Numbers of a chunk, which a core's cache holds while it is gone over twice."""
CHUNK, ROWS, COLUMNS, BYTES, FIRST = range(1, 6)
"""Places of the arguments behind the counter; those of the kernel itself begin at FIRST."""

ZERO = np.float32(0)


def chunk_rows(columns: int) -> int:
    """Rows of a chunk."""
    return max(1, CHUNK_NUMBERS // columns)


@inlined_kernel
def _next_chunk(p: int) -> tuple[int, int, int]:
    """Number of a chunk that nobody has taken, its first row and the one behind its last; the same row if none."""
    chunk = add_atomically(p, 1)
    size, rows = load_int64(p, CHUNK), load_int64(p, ROWS)
    return chunk, min(chunk * size, rows), min(chunk * size + size, rows)


@inlined_kernel
def measure(p: int, kind: Any) -> None:
    """By chunk the mean of each column and the sum of squared differences from it.

    Arguments: rows, numbers from row to row, (chunks, 2, C) float32; then a place for a copy of the rows, or 0, and
    numbers from row to row there.
    """
    columns, width = load_int64(p, COLUMNS), load_int64(p, BYTES)
    rows, apart, found = load_int64(p, FIRST), load_int64(p, FIRST + 1), load_int64(p, FIRST + 2)
    copy, copy_apart = load_int64(p, FIRST + 3), load_int64(p, FIRST + 4)
    chunk, first, end = _next_chunk(p)
    while first < end:
        mean = found + chunk * 8 * columns
        squares, factor, one = mean + 4 * columns, np.float32(1.0 / (end - first)), np.float32(0)
        for c in range(columns):
            store(mean, c, ZERO, one)
            store(squares, c, ZERO, one)
        for r in range(first, end):
            row = rows + r * apart * width
            for c in range(columns):
                store(mean, c, load(mean, c, one) + load(row, c, kind), one)
            if copy != 0:
                target = copy + r * copy_apart * width
                for c in range(columns):
                    store(target, c, load(row, c, kind), kind)
        for c in range(columns):
            store(mean, c, load(mean, c, one) * factor, one)
        for r in range(first, end):
            row = rows + r * apart * width
            for c in range(columns):
                off = load(row, c, kind) - load(mean, c, one)
                store(squares, c, load(squares, c, one) + off * off, one)
        chunk, first, end = _next_chunk(p)


@inlined_kernel
def normalise(p: int, kind: Any) -> None:
    """max(a x + b, 0). Arguments: rows x, numbers from row to row, a, b, and the rows of the result, without gaps."""
    columns, width, one = load_int64(p, COLUMNS), load_int64(p, BYTES), np.float32(0)
    rows, apart = load_int64(p, FIRST), load_int64(p, FIRST + 1)
    a, b, out = load_int64(p, FIRST + 2), load_int64(p, FIRST + 3), load_int64(p, FIRST + 4)
    _, first, end = _next_chunk(p)
    while first < end:
        for r in range(first, end):
            row, target = rows + r * apart * width, out + r * columns * width
            for c in range(columns):
                value = load(row, c, kind) * load(a, c, one) + load(b, c, one)
                # What is not a number stays so, and stops the run instead of vanishing.
                store(target, c, ZERO if value < ZERO else value, kind)
        _, first, end = _next_chunk(p)


@inlined_kernel
def add_up_gradient(p: int, kind: Any) -> None:
    """By chunk the sums of g and of g (x - mean), where g is the gradient behind the ReLU, or 0 where that was shut.

    Arguments: gradient without gaps, rows x, numbers from row to row, a, b, mean, (chunks, 2, C) float32; then
    float32 rows to which a g is added, or 0, and numbers from row to row there.
    """
    columns, width, one = load_int64(p, COLUMNS), load_int64(p, BYTES), np.float32(0)
    gradient, rows, apart = load_int64(p, FIRST), load_int64(p, FIRST + 1), load_int64(p, FIRST + 2)
    a, b, mean = load_int64(p, FIRST + 3), load_int64(p, FIRST + 4), load_int64(p, FIRST + 5)
    found, total, total_apart = load_int64(p, FIRST + 6), load_int64(p, FIRST + 7), load_int64(p, FIRST + 8)
    chunk, first, end = _next_chunk(p)
    while first < end:
        sums = found + chunk * 8 * columns
        products = sums + 4 * columns
        for c in range(columns):
            store(sums, c, ZERO, one)
            store(products, c, ZERO, one)
        for r in range(first, end):
            row, above = rows + r * apart * width, gradient + r * columns * width
            target = total + r * total_apart * 4
            for c in range(columns):
                value = load(row, c, kind)
                is_open = value * load(a, c, one) + load(b, c, one) > ZERO
                g = load(above, c, kind) if is_open else ZERO
                store(sums, c, load(sums, c, one) + g, one)
                store(products, c, load(products, c, one) + g * (value - load(mean, c, one)), one)
            if total != 0:
                for c in range(columns):
                    factor = load(a, c, one)
                    is_open = load(row, c, kind) * factor + load(b, c, one) > ZERO
                    g = load(above, c, kind) if is_open else ZERO
                    store(target, c, load(target, c, one) + factor * g, one)
        chunk, first, end = _next_chunk(p)


@inlined_kernel
def normalised_gradient(p: int, kind: Any) -> None:
    """a g - k (x - mean) - m. Arguments: as of ``add_up_gradient`` up to mean, then m, k, and the result's rows."""
    columns, width, one = load_int64(p, COLUMNS), load_int64(p, BYTES), np.float32(0)
    gradient, rows, apart = load_int64(p, FIRST), load_int64(p, FIRST + 1), load_int64(p, FIRST + 2)
    a, b, mean = load_int64(p, FIRST + 3), load_int64(p, FIRST + 4), load_int64(p, FIRST + 5)
    m, k, out = load_int64(p, FIRST + 6), load_int64(p, FIRST + 7), load_int64(p, FIRST + 8)
    _, first, end = _next_chunk(p)
    while first < end:
        for r in range(first, end):
            row, above = rows + r * apart * width, gradient + r * columns * width
            target = out + r * columns * width
            for c in range(columns):
                value, factor = load(row, c, kind), load(a, c, one)
                g = load(above, c, kind) if value * factor + load(b, c, one) > ZERO else ZERO
                off = (value - load(mean, c, one)) * load(k, c, one) + load(m, c, one)
                store(target, c, factor * g - off, kind)
        _, first, end = _next_chunk(p)


@inlined_kernel
def settle(p: int, kind: Any) -> None:
    """G - k (x - mean) - m.

    Arguments: float32 rows G, rows x, numbers from row to row of either, mean, m, k, the result's rows, without gaps.
    """
    columns, width, one = load_int64(p, COLUMNS), load_int64(p, BYTES), np.float32(0)
    total, rows, apart = load_int64(p, FIRST), load_int64(p, FIRST + 1), load_int64(p, FIRST + 2)
    mean, m, k = load_int64(p, FIRST + 3), load_int64(p, FIRST + 4), load_int64(p, FIRST + 5)
    out = load_int64(p, FIRST + 6)
    _, first, end = _next_chunk(p)
    while first < end:
        for r in range(first, end):
            above, row = total + r * apart * 4, rows + r * apart * width
            target = out + r * columns * width
            for c in range(columns):
                off = (load(row, c, kind) - load(mean, c, one)) * load(k, c, one) + load(m, c, one)
                store(target, c, load(above, c, one) - off, kind)
        _, first, end = _next_chunk(p)


@cache
def address(kernel: Callable[[int, Any], None], kind: type) -> tuple[int, Any]:
    """Address of the kernel as a C function for float32, or uint16 in the place of bfloat16; and who owns it."""
    number = kind(0)

    def call(p: int) -> None:
        kernel(p, number)

    compiled = numba.cfunc(types.void(types.int64), error_model="numpy")(call)
    return compiled.address, compiled
