"""The pixels of a batch: gray pages in the mapped file come in, mirrored and rotated images go out.

One pass over memory: a page is read once, straight from the file, and each output pixel is written once, to the
batch; what lies between stays in the core's cache. Same results as
``torchvision.transforms.v2.functional.affine(horizontal_flip(image), angle, ..., BILINEAR, fill=0)`` up to rounding:
about 8,000 images of 256x256 per second on one core of a server CPU of 2019 (Intel Xeon, Cascade Lake).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from datasets.augment.counter_rng import FACTOR_1, FACTOR_2, GOLDEN
from datasets.kernels.addresses import LINE_BYTES, add_atomically, fetch_to_write, load_two_bytes
from datasets.kernels.shared_work import CACHE_LINE
from datasets.kernels.threads import inlined_kernel, merged_kernel
from datasets.kernels.words import both, down, either, minus, plus, times, up

FRACTION_BITS = 20
"""Source coordinates in the inner loop are integers in units of 2**-20 px."""
WEIGHT_BITS = 11
"""Interpolation weights keep 11 bits, so that 255 * 2**22 still fits 32 bits."""
MARGIN = 1.0 / 64.0
"""Pixels this close to the image's edge go the careful way, so rounding can never lead outside the page."""
MAX_FAST_SIZE = 1 << (32 - FRACTION_BITS)
"""Larger pages have coordinates beyond 32 bits and go the careful way throughout."""

PIECE, LINES_A_PIECE = 16, 3
"""Three lines of memory take the floats of 16 pixels; they are asked for after so many pixels have been loaded."""
ROWS_AHEAD = 2
"""So many rows before it is written, the memory of a row is asked for."""

Array = Any


@inlined_kernel
def _mix(word: np.uint64) -> np.uint64:
    """``counter_rng.mix`` of one word; compiled kernels must hold their parts in their own file."""
    word = word + np.uint64(GOLDEN)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(FACTOR_1)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(FACTOR_2)
    return word ^ (word >> np.uint64(31))


@inlined_kernel
def draw_one(key: np.uint64, sample: np.uint64, rotation_deg: float, flip_probability: float) -> tuple[Any, Any]:
    """Angle in degrees (float32) and flip of one sample: the numbers of ``augment.draw``."""
    first = _mix(sample ^ key)
    second = _mix(first)
    angle = (2.0 * (np.float64(first >> np.uint64(11)) * 2.0**-53) - 1.0) * rotation_deg
    flip = np.float64(second >> np.uint64(11)) * 2.0**-53 < flip_probability
    return np.float32(angle), flip


@inlined_kernel
def _span(start: float, step: float, low: float, high: float, size: int) -> tuple[int, int]:
    """The columns j in 0..size with low <= start + step * j <= high, as a half-open range."""
    if abs(step) < 1e-12:
        return (0, size) if low <= start <= high else (0, 0)
    first, last = (low - start) / step, (high - start) / step
    if first > last:
        first, last = last, first
    return max(0, math.ceil(first)), min(size, math.floor(last) + 1)


@inlined_kernel
def _columns(x: float, y: float, dx: float, dy: float, margin: float, size: int) -> tuple[int, int]:
    """Columns of one row whose source lies at least ``margin`` px inside the square of pixel centres."""
    low, high = margin, size - 1 - margin
    x_first, x_last = _span(x, dx, low, high, size)
    y_first, y_last = _span(y, dy, low, high, size)
    first, last = max(x_first, y_first), min(x_last, y_last)
    return (first, last) if first < last else (0, 0)


@inlined_kernel
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


@merged_kernel
def _load_squares(page: Array, squares: Array, first: int, last: int, size: int) -> None:
    """Put the 2x2 pixels themselves in the place of where they lie."""
    upper_row = np.int64(page.ctypes.data)
    lower_row = upper_row + size
    for k in range(np.uint64(first), np.uint64(last)):
        left = np.uint64(squares[k])
        squares[k] = either(load_two_bytes(upper_row, left), up(load_two_bytes(lower_row, left), np.uint32(16)))


@merged_kernel
def _inner_pixels(page: Array, row: Array, squares: Array, first: int, last: int, line: Any, ahead: Any) -> None:
    """Columns ``first..last`` of one row, none of which needs a bounds check.

    ``line`` is x, y, dx, dy of column 0 in 2**-20 px. Three short loops, since the compiler makes wide instructions
    of the first and the last, which it cannot do with the loads between them: the 2x2 pixels around each source, as
    four bytes, the upper ones lowest. All numbers are modulo 2**32. For ``ahead`` see ``_warp_row``.
    """
    size, fraction, byte = np.uint32(row.shape[0]), np.uint32(FRACTION_BITS), np.uint32(255)
    dx, dy = np.uint32(line[2]), np.uint32(line[3])
    x_first, y_first = np.uint32(line[0] + line[2] * first), np.uint32(line[1] + line[3] * first)
    count = last - first
    x, y = x_first, y_first
    for k in range(np.uint64(count)):
        squares[k] = plus(times(down(y, fraction), size), down(x, fraction))
        x, y = plus(x, dx), plus(y, dy)
    loaded = 0
    if ahead is not None:
        for loaded in range(0, count - PIECE + 1, PIECE):
            _load_squares(page, squares, loaded, loaded + PIECE, row.shape[0])
            for number in range(LINES_A_PIECE):
                fetch_to_write(ahead + (loaded // PIECE * LINES_A_PIECE + number) * LINE_BYTES)
        loaded = count - count % PIECE
    _load_squares(page, squares, loaded, count, row.shape[0])
    bits, to_weight = np.uint32(WEIGHT_BITS), np.uint32(FRACTION_BITS - WEIGHT_BITS)
    weight = np.uint32((1 << WEIGHT_BITS) - 1)
    half, twice = np.uint32(1 << (2 * WEIGHT_BITS - 1)), np.uint32(2 * WEIGHT_BITS)
    x, y = x_first, y_first
    target = row[first:last]
    for k in range(np.uint64(count)):
        right, lower = both(down(x, to_weight), weight), both(down(y, to_weight), weight)
        a, b = both(squares[k], byte), both(down(squares[k], np.uint32(8)), byte)
        c, d = both(down(squares[k], np.uint32(16)), byte), down(squares[k], np.uint32(24))
        above = plus(up(a, bits), times(minus(b, a), right))
        below = plus(up(c, bits), times(minus(d, c), right))
        total = plus(plus(up(above, bits), times(minus(below, above), lower)), half)
        target[k] = np.uint8(down(total, twice))
        x, y = plus(x, dx), plus(y, dy)


@inlined_kernel
def _rotation(angle_deg: float, flip: bool) -> tuple[float, float, float]:
    """Cosine, sine and the sign that mirrors."""
    # float64, since every device gives the same sine then: datasets.augment.warp_device makes the same pixels.
    radians = math.radians(np.float64(angle_deg))
    return math.cos(radians), math.sin(radians), -1.0 if flip else 1.0


@merged_kernel
def _warp_row(page: Array, row: Array, squares: Array, i: int, rotation: Any, ahead: Any) -> None:
    """Row ``i`` of the mirrored and rotated page.

    ``ahead`` is the address where floats of a later row will be written, or None. That memory is asked for a little
    at a time: a core that waits for memory does not compute, and one that asks for too much at once waits, too.
    """
    size, (cos, sin, mirror) = row.shape[0], rotation
    centre, unit = 0.5 * (size - 1), float(1 << FRACTION_BITS)
    dx, dy = mirror * cos, -sin
    x = centre + mirror * (sin * (i - centre) - cos * centre)
    y = centre + cos * (i - centre) + sin * centre
    first, last = _columns(x, y, dx, dy, -1.0 - MARGIN, size)
    inner_first, inner_last = _columns(x, y, dx, dy, MARGIN, size)
    if inner_first == inner_last or size > MAX_FAST_SIZE:
        inner_first = inner_last = last
    row[:first] = 0
    for j in range(first, inner_first):
        row[j] = _edge_pixel(page, size, x + dx * j, y + dy * j)
    line = (round(x * unit), round(y * unit), round(dx * unit), round(dy * unit))
    _inner_pixels(page, row, squares, inner_first, inner_last, line, ahead)
    for j in range(inner_last, last):
        row[j] = _edge_pixel(page, size, x + dx * j, y + dy * j)
    row[last:] = 0


@inlined_kernel
def warp_page(page: Array, out: Array, angle_deg: float, flip: bool) -> None:
    """Mirror, then rotate clockwise one page (S*S,) into ``out`` (S, S)."""
    size, rotation = out.shape[0], _rotation(angle_deg, flip)
    squares = np.empty(size, np.uint32)
    for i in range(size):
        _warp_row(page, out[i], squares, i, rotation, None)


@inlined_kernel
def warp_batch(
    pages: Array,
    pointers: Array,
    samples: Array,
    out: Array,
    key: np.uint64,
    rotation_deg: float,
    flip_probability: float,
    tasks: Array,
) -> None:
    """Write the augmented images of ``samples`` (B,) to ``out`` (B, 1, S, S), together with other threads.

    ``pages`` is the whole file (uint8), ``pointers`` (B,) the offset of each image in it, ``key`` the stream key of
    seed and epoch, ``tasks`` what ``shared_work.new_tasks`` makes.
    """
    size, next_task = out.shape[2], np.int64(tasks.ctypes.data)
    b = add_atomically(next_task, 1)
    while b < out.shape[0]:
        angle, flip = draw_one(key, samples[b], rotation_deg, flip_probability)
        page = pages[pointers[b] : pointers[b] + np.uint64(size * size)]
        warp_page(page, out[b, 0], angle, flip)
        add_atomically(next_task + 8 * CACHE_LINE, 1)
        b = add_atomically(next_task, 1)


@inlined_kernel
def _spread(gray: Array, channels: Array, scale: Array, shift: Array) -> None:
    """``scale * pixel + shift`` of pixels (N,) uint8 to ``channels`` (3 N,) float32."""
    scale_0, scale_1, scale_2 = scale[0], scale[1], scale[2]
    shift_0, shift_1, shift_2 = shift[0], shift[1], shift[2]
    for i in range(gray.shape[0]):
        value = np.float32(gray[i])
        channels[3 * i] = value * scale_0 + shift_0
        channels[3 * i + 1] = value * scale_1 + shift_1
        channels[3 * i + 2] = value * scale_2 + shift_2


@inlined_kernel
def _warp_and_spread(
    page: Array, channels: Array, scale: Array, shift: Array, scratch: Any, angle_deg: float, flip: bool
) -> None:
    """``warp_page`` and then ``_spread`` to ``channels`` (3 S S,), row by row: a gray row never leaves the core."""
    row, squares = scratch
    size, rotation = row.shape[0], _rotation(angle_deg, flip)
    values, row_bytes = 3 * size, channels.itemsize * 3 * size
    ahead = np.int64(channels.ctypes.data) + ROWS_AHEAD * row_bytes
    for i in range(size):
        _warp_row(page, row, squares, i, rotation, ahead + i * row_bytes)
        _spread(row, channels[i * values : (i + 1) * values], scale, shift)


@inlined_kernel
def normalise_batch(images: Array, out: Array, scale: Array, shift: Array, tasks: Array) -> None:
    """Write ``scale * pixel + shift`` of gray images (B, 1, S, S) uint8 to ``out`` (B, S, S, 3) float32.

    ``tasks`` is what ``shared_work.new_tasks`` makes.
    """
    num_pixels = images.shape[2] * images.shape[3]
    gray, channels = images.reshape(images.shape[0], num_pixels), out.reshape(out.shape[0], num_pixels * 3)
    next_task = np.int64(tasks.ctypes.data)
    b = add_atomically(next_task, 1)
    while b < gray.shape[0]:
        _spread(gray[b], channels[b], scale, shift)
        add_atomically(next_task + 8 * CACHE_LINE, 1)
        b = add_atomically(next_task, 1)


@inlined_kernel
def warp_and_normalise_batch(
    pages: Array,
    pointers: Array,
    samples: Array,
    out: Array,
    scale: Array,
    shift: Array,
    key: np.uint64,
    rotation_deg: float,
    flip_probability: float,
    tasks: Array,
) -> None:
    """What ``warp_batch`` and then ``normalise_batch`` write, in one go: to ``out`` (B, S, S, 3) float32."""
    size, next_task = out.shape[1], np.int64(tasks.ctypes.data)
    channels = out.reshape(out.shape[0], size * size * 3)
    scratch = np.empty(size, np.uint8), np.empty(size, np.uint32)
    b = add_atomically(next_task, 1)
    while b < out.shape[0]:
        angle, flip = draw_one(key, samples[b], rotation_deg, flip_probability)
        page = pages[pointers[b] : pointers[b] + np.uint64(size * size)]
        _warp_and_spread(page, channels[b], scale, shift, scratch, angle, flip)
        add_atomically(next_task + 8 * CACHE_LINE, 1)
        b = add_atomically(next_task, 1)
