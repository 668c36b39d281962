"""Large gray images come in, smaller ones go out: Pillow's bilinear filter with antialiasing, in vector code.

The same numbers as Pillow to the last bit: weights of 22 bits, rounded the same way, first along the rows and then
along the columns, with 8 bits in between. Rows are scaled as columns of the turned image, since neighbours in memory
are then scaled alike, and nothing is computed that is cropped away.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from datasets.kernels.threads import inlined_kernel

WEIGHT_BITS = 22

Array = Any


def resample_part(gray: np.ndarray, scaled: tuple[int, int], top: int, left: int, size: int) -> np.ndarray:
    """The part (size, size) from (top, left) on of ``gray`` (H, W) uint8 scaled to ``scaled`` (rows, columns)."""
    first_rows, row_weights = _weights(gray.shape[0], scaled[0], top, size)
    first_columns, column_weights = _weights(gray.shape[1], scaled[1], left, size)
    above, below = int(first_rows[0]), min(gray.shape[0], int(first_rows[-1]) + row_weights.shape[1])
    turned = cv2.transpose(gray[above:below])
    narrow = np.empty((size, below - above), dtype=np.uint8)
    _mix_rows(turned, first_columns, column_weights, narrow)
    page = np.empty((size, size), dtype=np.uint8)
    _mix_rows(cv2.transpose(narrow), first_rows - above, row_weights, page)
    return page


def _weights(length: int, scaled: int, start: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``size`` places from ``start`` on: its first source place (size,), and whole weights (size, K)."""
    scale = length / scaled
    reach = max(scale, 1.0)
    centres = (np.arange(start, start + size) + 0.5) * scale
    first = np.maximum(centres - reach + 0.5, 0).astype(np.int64)
    last = np.minimum((centres + reach + 0.5).astype(np.int64), length)
    places = first[:, None] + np.arange(int((last - first).max()))
    weights = 1.0 - np.abs((places - centres[:, None] + 0.5) * (1.0 / reach))
    weights = np.where(places < last[:, None], np.maximum(weights, 0.0), 0.0)
    total = np.zeros(size)
    for column in weights.T:  # one after another, as Pillow adds them up
        total += column
    return first, (0.5 + weights / total[:, None] * (1 << WEIGHT_BITS)).astype(np.int32)


@inlined_kernel
def _mix_rows(source: Array, first: Array, weights: Array, out: Array) -> None:
    """Row i of ``out`` is the weighted sum of the rows of ``source`` from ``first[i]`` on."""
    width = out.shape[1]
    total = np.empty(width, dtype=np.int32)
    for row in range(len(out)):
        total[:] = 1 << (WEIGHT_BITS - 1)
        for tap in range(weights.shape[1]):
            weight = weights[row, tap]
            if weight != 0:
                line = source[first[row] + tap]
                for i in range(width):
                    total[i] += np.int32(line[i]) * weight
        for i in range(width):
            out[row, i] = total[i] >> WEIGHT_BITS
