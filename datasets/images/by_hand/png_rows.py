"""The filtered rows of a PNG come in, the first byte of each pixel goes out: PNG's five row filters undone.

Each filter works on every byte of a pixel by itself, so the gray value, the upper byte of 16 bits or the first
channel is had without the others. A pixel waits for its left neighbour; four rows are therefore undone side by side,
each one pixel behind the row above it, which keeps the core busy: twice the speed of one row after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.kernels.threads import inlined_kernel

NONE, LEFT, UP, AVERAGE, PAETH = range(5)
ROWS = 4

Array = Any


@inlined_kernel
def _predicted(kind: Any, left: Any, up: Any, corner: Any) -> Any:
    """What a filter expects of a pixel, from its neighbours to the left, above, and above to the left."""
    if kind == PAETH:
        by_left, by_up = up - corner, left - corner
        far_left, far_up, far_corner = abs(by_left), abs(by_up), abs(by_left + by_up)
        second = up if far_up <= far_corner else corner
        return left if far_left <= min(far_up, far_corner) else second
    if kind == AVERAGE:
        return (left + up) >> 1
    if kind == UP:
        return up
    return left if kind == LEFT else np.int32(0)


@inlined_kernel
def _undone(raw: Array, at: Any, kind: Any, left: Any, up: Any, corner: Any) -> Any:
    return (np.int32(raw[np.uint64(at)]) + _predicted(kind, left, up, corner)) & np.int32(255)


@inlined_kernel
def _run(raw: Array, start: int, step: int, above: Array, row: Array, first: int, last: int) -> tuple[Any, Any]:
    """Pixels ``first`` to ``last`` - 1 of one row; returns the last and the one above it."""
    kind = raw[start]
    left = np.int32(row[first - 1]) if first > 0 else np.int32(0)
    corner = np.int32(above[first - 1]) if first > 0 else np.int32(0)
    for x in range(first, last):
        up = np.int32(above[np.uint64(x)])
        left = _undone(raw, start + 1 + x * step, kind, left, up, corner)
        row[np.uint64(x)] = left
        corner = up
    return left, corner


@inlined_kernel
def _four_rows(raw: Array, start: int, stride: int, step: int, rows: Array) -> None:
    """Rows 1 to 4 of ``rows`` (5, W), W at least 4, the row above them being row 0."""
    width = rows.shape[1]
    above, row0, row1, row2, row3 = rows[0], rows[1], rows[2], rows[3], rows[4]
    start1, start2, start3 = start + stride, start + 2 * stride, start + 3 * stride
    kind0, kind1, kind2, kind3 = raw[start], raw[start1], raw[start2], raw[start3]
    left0, corner0 = _run(raw, start, step, above, row0, 0, 3)
    left1, corner1 = _run(raw, start1, step, row0, row1, 0, 2)
    left2, corner2 = _run(raw, start2, step, row1, row2, 0, 1)
    left3, corner3 = np.int32(0), np.int32(0)
    for x in range(3, width):
        at = 1 + x * step
        pixel = _undone(raw, start3 + at - 3 * step, kind3, left3, left2, corner3)
        row3[np.uint64(x - 3)] = pixel
        left3, corner3 = pixel, left2
        pixel = _undone(raw, start2 + at - 2 * step, kind2, left2, left1, corner2)
        row2[np.uint64(x - 2)] = pixel
        left2, corner2 = pixel, left1
        pixel = _undone(raw, start1 + at - step, kind1, left1, left0, corner1)
        row1[np.uint64(x - 1)] = pixel
        left1, corner1 = pixel, left0
        up = np.int32(above[np.uint64(x)])
        left0 = _undone(raw, start + at, kind0, left0, up, corner0)
        row0[np.uint64(x)] = left0
        corner0 = up
    _run(raw, start1, step, row0, row1, width - 1, width)
    _run(raw, start2, step, row1, row2, width - 2, width)
    _run(raw, start3, step, row2, row3, width - 3, width)


@inlined_kernel
def unfilter(raw: Array, bytes_per_pixel: int, out: Array) -> bool:
    """Undo the filters of ``raw`` into rows 1 to H of ``out`` (H + 1, W) uint8, whose row 0 is zeros.

    ``raw`` (H * (W * bytes_per_pixel + 1),) uint8 has one filter byte before each row.

    Returns:
        Whether all filter bytes are known; ``out`` is of no use otherwise.
    """
    height, width = out.shape[0] - 1, out.shape[1]
    stride = width * bytes_per_pixel + 1
    for y in range(height):
        if raw[y * stride] > PAETH:
            return False
    y = 0
    while y + ROWS <= height and width >= ROWS:
        _four_rows(raw, y * stride, stride, bytes_per_pixel, out[y : y + ROWS + 1])
        y += ROWS
    while y < height:
        _run(raw, y * stride, bytes_per_pixel, out[y], out[y + 1], 0, width)
        y += 1
    return True
