"""Mirror, rotate, scale, crop, lighten and normalise gray pages on the CPU, one pass over memory for each image.

A page is read once from the mapped file and each output value is written once, to the batch; what lies between stays
in the core's cache. The pixels are those of
``torchvision.transforms.v2.functional.affine(horizontal_flip(image), angle, ..., BILINEAR, fill=0)`` up to rounding,
and those of ``datasets.augment.warp_device`` to the bit wherever the source lies inside the page.

All kernels take ``pages``, uint8 bytes that hold each image's page (S*S) at its place in ``offsets`` (B,); they are
plain loops without the GIL, to be run by several threads on parts of a batch. Callers see to it that every page lies
within ``pages`` (``datasets.loading.batch_writer``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from datasets.augment.policy import TONE_BITS, Draws
from datasets.loading.threads import compiled_kernel

FRACTION_BITS = 20
"""Source coordinates in the inner loop are integers in units of 2**-20 px."""
WEIGHT_BITS = 11
"""Interpolation weights keep 11 bits, so that 255 * 2**22 still fits 32 bits."""
MARGIN = 1.0 / 64.0
"""Pixels this close to the image's edge take the careful way, so rounding can never lead outside the page."""
MAX_FAST_SIZE = 1 << (32 - FRACTION_BITS)
"""Larger pages have coordinates beyond 32 bits and take the careful way throughout."""

Array = Any
U32, U64 = np.uint32, np.uint64


@compiled_kernel
def _span(start: float, step: float, low: float, high: float, size: int) -> tuple[int, int]:
    """Columns j in 0..size with low <= start + step * j <= high, as a half-open range."""
    if abs(step) < 1e-12:
        return (0, size) if low <= start <= high else (0, 0)
    first, last = (low - start) / step, (high - start) / step
    if first > last:
        first, last = last, first
    return max(0, math.ceil(first)), min(size, math.floor(last) + 1)


@compiled_kernel
def _columns(line: tuple[float, float, float, float], margin: float, size: int) -> tuple[int, int]:
    """Columns of one row whose source lies at least ``margin`` px inside the square of pixel centres."""
    x, y, dx, dy = line
    low, high = margin, size - 1 - margin
    x_first, x_last = _span(x, dx, low, high, size)
    y_first, y_last = _span(y, dy, low, high, size)
    first, last = max(x_first, y_first), min(x_last, y_last)
    return (first, last) if first < last else (0, 0)


@compiled_kernel
def _edge_pixel(page: Array, size: int, x: float, y: float) -> np.uint8:
    """One pixel whose source may lie partly outside: the weighted sum times the weight that is inside.

    That product is torchvision's blend with fill 0: outside pixels count as 0, and the mask then weighs once more.
    """
    left, top = math.floor(x), math.floor(y)
    total = inside = 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < size and 0 <= column < size:
                weight = (1.0 - abs(x - column)) * (1.0 - abs(y - row))
                total += weight * page[int(row) * size + int(column)]
                inside += weight
    return np.uint8(total * inside + 0.5)


@compiled_kernel
def _pack_squares(page: Array, squares: Array, size: int) -> None:
    """Put the 2x2 pixels around each source position of a page into 32 bits of ``squares`` (S*S,), upper ones lowest.

    One pass over the page with vector instructions, after which a rotated pixel is one load and not four.
    """
    right, below, across = page[1:], page[size:], page[size + 1 :]
    for k in range(U64(max(0, size * size - size - 1))):
        upper = U32(page[k]) | U32(U32(right[k]) << U32(8))
        squares[k] = upper | U32(U32(below[k]) << U32(16)) | U32(U32(across[k]) << U32(24))


@compiled_kernel
def _inner_pixels(squares: Array, row: Array, scratch: Array, line: tuple[int, int, int, int]) -> None:
    """Interpolate a stretch of one row, none of whose pixels needs a check.

    ``row`` is the stretch, ``line`` x, y, dx, dy of its first column in 2**-20 px, ``scratch`` memory of a row's
    length. There are three short loops, since the compiler makes vector instructions of the first and the last, which
    it does not with the loads between them. Numbers are cast back to 32 bits after each operation, because numba
    widens them to 64, which would halve the vectors.
    """
    size = U32(scratch.shape[0])
    count, dx, dy = U64(row.shape[0]), U32(line[2]), U32(line[3])
    x, y = U32(line[0]), U32(line[1])
    for k in range(count):
        scratch[k] = U32(U32(y >> U32(FRACTION_BITS)) * size) + U32(x >> U32(FRACTION_BITS))
        x, y = U32(x + dx), U32(y + dy)
    for k in range(count):
        scratch[k] = squares[U64(scratch[k])]
    bits, mask, byte = U32(WEIGHT_BITS), U32((1 << WEIGHT_BITS) - 1), U32(255)
    to_weight, half = U32(FRACTION_BITS - WEIGHT_BITS), U32(1 << (2 * WEIGHT_BITS - 1))
    x, y = U32(line[0]), U32(line[1])
    for k in range(count):
        right, lower = U32(U32(x >> to_weight) & mask), U32(U32(y >> to_weight) & mask)
        a, b = U32(scratch[k] & byte), U32(U32(scratch[k] >> U32(8)) & byte)
        c, d = U32(U32(scratch[k] >> U32(16)) & byte), U32(scratch[k] >> U32(24))
        above = U32(U32(a << bits) + U32(U32(b - a) * right))
        under = U32(U32(c << bits) + U32(U32(d - c) * right))
        total = U32(U32(U32(above << bits) + U32(U32(under - above) * lower)) + half)
        row[k] = np.uint8(U32(total >> U32(2 * WEIGHT_BITS)))
        x, y = U32(x + dx), U32(y + dy)


@compiled_kernel
def _view(
    angle_deg: float, flip: bool, side: float, right: float, below: float
) -> tuple[float, float, float, float, float, float]:
    """Cosine, sine, the sign that mirrors, and the frame, in float64, which is the same on every device."""
    radians = math.radians(np.float64(angle_deg))
    return math.cos(radians), math.sin(radians), -1.0 if flip else 1.0, side, right, below


@compiled_kernel
def _warp_row(
    page: Array,
    squares: Array,
    row: Array,
    scratch: Array,
    i: int,
    view: tuple[float, float, float, float, float, float],
) -> None:
    """Write row ``i`` of the warped page; its columns outside, on the border and inside are ranges."""
    size, (cos, sin, mirror, side, right, below) = row.shape[0], view
    centre, unit = 0.5 * (size - 1), float(1 << FRACTION_BITS)
    dx, dy = mirror * cos * side, -sin * side
    # Of the row's first pixel, from the page's centre, before rotation.
    first_column, line = size * right - side * centre, side * (i - centre) + size * below
    x = centre + mirror * (sin * line + cos * first_column)
    y = centre + cos * line - sin * first_column
    first, last = _columns((x, y, dx, dy), -1.0 - MARGIN, size)
    inner_first, inner_last = _columns((x, y, dx, dy), MARGIN, size)
    if inner_first == inner_last or size > MAX_FAST_SIZE:
        inner_first = inner_last = last
    row[:first] = 0
    for j in range(first, inner_first):
        row[j] = _edge_pixel(page, size, x + dx * j, y + dy * j)
    step_x, step_y = round(dx * unit), round(dy * unit)
    start = round(x * unit) + step_x * inner_first, round(y * unit) + step_y * inner_first
    _inner_pixels(squares, row[inner_first:inner_last], scratch, (start[0], start[1], step_x, step_y))
    for j in range(inner_last, last):
        row[j] = _edge_pixel(page, size, x + dx * j, y + dy * j)
    row[last:] = 0


@compiled_kernel
def _spread(gray: Array, channels: Array, scale: Array, shift: Array) -> None:
    """Write ``scale * pixel + shift`` of pixels (N,) uint8 to ``channels`` (3 N,) float32."""
    scale_0, scale_1, scale_2 = scale[0], scale[1], scale[2]
    shift_0, shift_1, shift_2 = shift[0], shift[1], shift[2]
    for i in range(gray.shape[0]):
        value = np.float32(gray[i])
        channels[3 * i] = value * scale_0 + shift_0
        channels[3 * i + 1] = value * scale_1 + shift_1
        channels[3 * i + 2] = value * scale_2 + shift_2


@compiled_kernel
def _copy(page: Array, out: Array) -> None:
    """Write the page to ``out`` (S, S) as it is."""
    gray = out.reshape(out.shape[0] * out.shape[1])
    for k in range(gray.shape[0]):
        gray[k] = page[k]  # three times as fast as assigning the slice


@compiled_kernel
def _mirror(page: Array, out: Array) -> None:
    """Write the page to ``out`` (S, S), left and right exchanged."""
    size = out.shape[0]
    for i in range(size):
        source, row = page[i * size : (i + 1) * size], out[i]
        for j in range(size):
            row[j] = source[size - 1 - j]


@compiled_kernel
def copy_batch(pages: Array, offsets: Array, out: Array) -> None:
    """Copy pages to ``out`` (B, 1, S, S) uint8."""
    for b in range(out.shape[0]):
        _copy(pages[offsets[b] : offsets[b] + U64(out.shape[2] * out.shape[3])], out[b, 0])


@compiled_kernel
def normalise_batch(pages: Array, offsets: Array, out: Array, scale: Array, shift: Array) -> None:
    """Write ``scale * pixel + shift`` of pages to ``out`` (B, S, S, 3) float32."""
    num_pixels = out.shape[1] * out.shape[2]
    channels = out.reshape(out.shape[0], num_pixels * 3)
    for b in range(out.shape[0]):
        _spread(pages[offsets[b] : offsets[b] + U64(num_pixels)], channels[b], scale, shift)


@compiled_kernel
def _warp(
    page: Array,
    squares: Array,
    scratch: Array,
    out: Array,
    view: tuple[float, float, float, float, float, float],
    tone: Array,
) -> None:
    """Write the warped page, with contrast and brightness changed, to ``out`` (S, S)."""
    cos, sin, mirror, side, right, below = view
    if cos != 1.0 or sin != 0.0 or side != 1.0 or right != 0.0 or below != 0.0:
        _pack_squares(page, squares, out.shape[0])
        for i in range(out.shape[0]):
            _warp_row(page, squares, out[i], scratch, i, view)
    elif mirror < 0.0:  # nothing to interpolate: the same bits
        _mirror(page, out)
    else:
        _copy(page, out)
    factor, summand = tone[0], tone[1]
    if factor != 1 << TONE_BITS or summand != 0:
        levels = np.empty(256, np.uint8)
        for level in range(256):
            levels[level] = min(255, max(0, (factor * level + summand + (1 << (TONE_BITS - 1))) >> TONE_BITS))
        gray = out.reshape(out.shape[0] * out.shape[1])
        for k in range(gray.shape[0]):
            gray[k] = levels[gray[k]]


@compiled_kernel
def warp_batch(pages: Array, offsets: Array, draws: Draws, out: Array) -> None:
    """Write pages to ``out`` (B, 1, S, S), augmented as drawn by ``datasets.augment.policy.draw``."""
    angles, flips, frames, tones = draws
    size = out.shape[2]
    squares, scratch = np.empty(size * size, np.uint32), np.empty(size, np.uint32)
    for b in range(out.shape[0]):
        page = pages[offsets[b] : offsets[b] + U64(size * size)]
        view = _view(angles[b], flips[b], frames[b, 0], frames[b, 1], frames[b, 2])
        _warp(page, squares, scratch, out[b, 0], view, tones[b])


@compiled_kernel
def warp_and_normalise_batch(
    pages: Array, offsets: Array, draws: Draws, out: Array, scale: Array, shift: Array
) -> None:
    """Do ``warp_batch`` and the normalisation in one go, to ``out`` (B, S, S, 3) float32.

    A gray page is spread over the channels at once, and so never leaves the core's cache; doing so row by row is a
    quarter slower.
    """
    angles, flips, frames, tones = draws
    size = out.shape[1]
    channels = out.reshape(out.shape[0], size * size * 3)
    squares, scratch = np.empty(size * size, np.uint32), np.empty(size, np.uint32)
    gray = np.empty((size, size), np.uint8)
    for b in range(out.shape[0]):
        page = pages[offsets[b] : offsets[b] + U64(size * size)]
        view = _view(angles[b], flips[b], frames[b, 0], frames[b, 1], frames[b, 2])
        _warp(page, squares, scratch, gray, view, tones[b])
        _spread(gray.reshape(size * size), channels[b], scale, shift)
