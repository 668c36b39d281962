"""Shrink gray images to the very pixels of Pillow's BILINEAR, in a third of its time.

Pillow (``src/libImaging/Resample.c``) weighs the pixels below a triangle by integers of 2**-22, first along each row,
then down each column, and rounds to 8 bits after both. Integers have no order of summation, so vector instructions,
which Pillow's loops do not use, give the same pixels. Only those of the page are computed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from datasets.loading.threads import compiled_kernel

PRECISION_BITS = 22
VECTOR = 8
"""Weights of a pixel are filled up with zeros to a multiple of it, which the compiler takes at once."""

Array = Any
I32, U64 = np.int32, np.uint64


def shrink(gray: np.ndarray, shape: tuple[int, int], corner: tuple[int, int], size: int) -> np.ndarray:
    """Scale (H, W) uint8 to ``shape``, no side longer than before, and cut the page out of it.

    Args:
        gray: pixels, C-contiguous.
        shape: height and width of the scaled image in pixels.
        corner: top and left of the page in it.
        size: side of the page.

    Returns:
        (size, size) uint8: of Pillow's ``resize(shape[::-1], BILINEAR)`` the square at ``corner``.
    """
    rows, row_weights = _weights(gray.shape[0], shape[0])
    columns, column_weights = _weights(gray.shape[1], shape[1])
    down, across = slice(corner[0], corner[0] + size), slice(corner[1], corner[1] + size)
    pixels = gray.view()
    pixels.flags.writeable = False  # one compiled variant for arrays of any origin
    page = np.empty((size, size), dtype=np.uint8)
    _shrink(pixels, rows[down], row_weights[down], columns[across], column_weights[across], page)
    return page


@lru_cache(maxsize=64)
def _weights(length: int, scaled: int) -> tuple[np.ndarray, np.ndarray]:
    """First pixel (S,) int64 that each scaled pixel is made of, and the weights (S, K) int32 of those from it on."""
    scale = length / scaled
    centre = (np.arange(scaled) + 0.5) * scale
    first = np.maximum((centre - scale + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + scale + 0.5).astype(np.int64), length)
    count = min(-(-int((end - first).max()) // VECTOR) * VECTOR, length)
    start = np.minimum(first, length - count)
    pixel = start[:, None] + np.arange(count)
    weights = np.maximum(1.0 - np.abs((pixel - centre[:, None] + 0.5) * (1.0 / scale)), 0.0)
    weights[(pixel < first[:, None]) | (pixel >= end[:, None])] = 0.0
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # a sum from left to right, as Pillow's
    return start, (weights * (1 << PRECISION_BITS) + 0.5).astype(np.int32)


@compiled_kernel
def _shrink(gray: Array, rows: Array, row_weights: Array, columns: Array, column_weights: Array, page: Array) -> None:
    """Weigh along the rows that the page needs, then down its columns.

    Numbers are cast back to 32 bits after each operation, because numba widens them to 64, which would halve the
    vectors; no sum exceeds 256 * 2**22.
    """
    half, across, down = I32(1 << (PRECISION_BITS - 1)), U64(column_weights.shape[1]), U64(row_weights.shape[1])
    top, width = U64(rows[0]), U64(columns.size)
    band = np.empty((U64(rows[-1]) + down - top, width), dtype=np.uint8)
    for y in range(U64(band.shape[0])):
        line = gray[top + y]
        for x in range(width):
            total, first = half, U64(columns[x])
            for k in range(across):
                total = I32(total + I32(I32(line[first + k]) * column_weights[x, k]))
            band[y, x] = total >> PRECISION_BITS
    totals = np.empty(width, dtype=np.int32)
    for y in range(U64(rows.size)):
        totals[:] = half
        for k in range(down):
            weight = row_weights[y, k]
            if weight:
                line = band[U64(rows[y]) - top + k]
                for x in range(width):
                    totals[x] = I32(totals[x] + I32(I32(line[x]) * weight))
        for x in range(width):
            page[y, x] = totals[x] >> PRECISION_BITS
