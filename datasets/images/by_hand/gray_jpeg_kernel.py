"""Gray baseline JPEGs with one header come in; their pixels go out, bit for bit those of libjpeg's slow transform.

Nearly all the time of a JPEG of high quality goes to its Huffman codes, and most of that to waiting: where a code
begins is known only when the one before has been looked up. So one lookup of 12 bits yields one or two whole
coefficients, values included, and each thread reads two pictures at once. The inverse cosine transform runs over a
row of blocks, one block in each lane of a vector register. Anything irregular is only found, not mended:
libjpeg-turbo then says what it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.images.by_hand import gray_jpeg_types as jpeg
from datasets.images.by_hand.gray_jpeg_types import Codes, Source, State
from datasets.images.by_hand.jpeg_bits import first_bits, load_bits, signed_number
from datasets.kernels.addresses import add_atomically, load_int32, load_int64, store_int16
from datasets.kernels.shared_work import CACHE_LINE
from datasets.kernels.threads import inlined_kernel, merged_kernel

REGULAR, IRREGULAR = 0, 1

Array = Any
i32 = np.int32


@inlined_kernel
def _unstuff(data: Array, start: int, end: int, out: Array) -> tuple[Any, Any]:
    """Copy ``data[start:end]`` up to a marker, without the zero behind each 255: place reached, bytes written."""
    at, place, limit, chunk = np.uint64(start), np.uint64(0), np.uint64(end), np.uint64(jpeg.CHUNK_BYTES)
    while at < limit:
        num = min(chunk, limit - at)
        first = np.int32(num)
        if num == chunk:
            # Without branches and of known length, so that the compiler makes vector code of it.
            for i in range(jpeg.CHUNK_BYTES):
                value = data[at + np.uint64(i)]
                out[place + np.uint64(i)] = value
                first = min(first, np.int32(i) if value == 255 else np.int32(jpeg.CHUNK_BYTES))
        else:
            for i in range(np.int64(num)):
                value = data[at + np.uint64(i)]
                out[place + np.uint64(i)] = value
                first = min(first, np.int32(i) if value == 255 else np.int32(jpeg.CHUNK_BYTES))
        at += np.uint64(first)
        place += np.uint64(first)
        if first < num:
            if at + np.uint64(1) >= limit or data[at + np.uint64(1)] != 0:
                break
            at += np.uint64(2)
            place += np.uint64(1)
    return np.int64(at), np.int64(place)


@merged_kernel
def _begin_block(codes: Any, source: Any, bit: Any, block: Any, level: Any) -> Any:
    """Read the DC coefficient of ``block``, whose codes begin at ``bit``."""
    word = load_bits(source.data, bit)
    symbol = np.int64(load_int32(codes.dc, first_bits(word, jpeg.DC_BITS)))
    length, size = symbol & 63, symbol >> jpeg.SIZE_SHIFT
    level += signed_number(word, length, size)
    store_int16(source.coefficients, np.int64(load_int32(codes.starts, block)), level)
    bit += length + size
    if symbol == 0 or size > jpeg.MAX_DC_SIZE or bit > source.num_bits:
        block = np.int64(jpeg.FAILED)
    place: Any = np.int64(0)
    return State(load_bits(source.data, bit), bit, place, block, level)


@merged_kernel
def _go_on(codes: Any, source: Any, bit: Any, place: Any, block: Any, level: Any) -> Any:
    """Begin the next block if this one is complete; else, or after the last block, only load the next bits."""
    if place >= jpeg.LAST:
        block += 1
        if block < codes.num_blocks:
            return _begin_block(codes, source, bit, block, level)
    return State(load_bits(source.data, bit), bit, place, block, level)


@merged_kernel
def _read_one(codes: Any, source: Any, state: Any) -> Any:
    """Read one AC symbol; after the last of a block, also the DC of the next."""
    word, block = load_bits(source.data, state.bit), state.block
    symbol = np.int64(load_int32(codes.ac_short, first_bits(word, jpeg.LOOKUP_BITS)))
    if symbol == 0:
        symbol = np.int64(load_int32(codes.ac_long, first_bits(word, jpeg.CODE_BITS)))
    length, size = symbol & 63, symbol >> jpeg.SIZE_SHIFT & 15
    place, bit = state.place + (symbol >> jpeg.RUN_SHIFT), state.bit + length + size
    start = np.int64(load_int32(codes.starts, block))
    store_int16(source.coefficients, start + load_int32(codes.places, place), signed_number(word, length, size))
    if symbol == 0 or jpeg.LAST < place < jpeg.ENDED or bit > source.num_bits:
        block = np.int64(jpeg.FAILED)
    return _go_on(codes, source, bit, place, block, state.level)


@merged_kernel
def _step(codes: Any, source: Any, state: Any) -> Any:
    """Read one or two AC symbols with one lookup, and what follows on the end of a block."""
    entry = load_int64(codes.pairs, first_bits(state.word, jpeg.LOOKUP_BITS))
    if entry == 0:
        return _read_one(codes, source, state)
    length, block, level = entry & 63, state.block, state.level
    first = state.place + (entry >> jpeg.SKIP_1_SHIFT & 255)
    place = first + (entry >> jpeg.SKIP_2_SHIFT & 255)
    # Places above 63 lead to a dump behind the coefficients. Where there is no second symbol, the second store
    # repeats the first.
    start = np.int64(load_int32(codes.starts, block))
    store_int16(source.coefficients, start + load_int32(codes.places, first), entry >> jpeg.VALUE_1_SHIFT)
    store_int16(source.coefficients, start + load_int32(codes.places, place), entry >> jpeg.VALUE_2_SHIFT)
    if place >= jpeg.LAST:
        if (place == jpeg.LAST or place >= jpeg.ENDED) and (first < jpeg.LAST or first == place):
            return _go_on(codes, source, state.bit + length, place, block, level)
        # The block ended with the first symbol and the second is of the next: take the first alone.
        return _read_one(codes, source, state)
    return State(state.word << np.uint64(length), state.bit + length, place, block, level)


@merged_kernel
def _reloaded(source: Any, state: Any) -> Any:
    return State(load_bits(source.data, state.bit), state.bit, state.place, state.block, state.level)


@inlined_kernel
def _read_codes(codes: Any, source: Any, other_source: Any) -> tuple[Any, Any]:
    """Read the codes of two pictures side by side; the states at their ends."""
    zero, num_blocks = np.int64(0), codes.num_blocks
    state = _begin_block(codes, source, zero, zero, zero)
    other = _begin_block(codes, other_source, zero, zero, zero)
    while state.block < num_blocks and other.block < num_blocks:
        state, other = _reloaded(source, state), _reloaded(other_source, other)
        for _ in range(jpeg.LOOKUPS):
            state, other = _step(codes, source, state), _step(codes, other_source, other)
            if state.block >= num_blocks or other.block >= num_blocks:
                break
    while state.block < num_blocks:
        state = _step(codes, source, _reloaded(source, state))
    while other.block < num_blocks:
        other = _step(codes, other_source, _reloaded(other_source, other))
    return state, other


@inlined_kernel
def _dequantise(coefficients: Array, steps: Array, out: Array) -> None:
    for i in range(len(steps)):
        out[i] = np.int32(np.int32(coefficients[i]) * steps[i])


@inlined_kernel
def _transform(points: Array, num: int, width: int, half: Any, shift: Any, out: Array) -> None:
    """Eight-point inverse cosine transforms (Loeffler, Ligtenberg and Moschytz, as in libjpeg's jidctint.c).

    ``points`` are ``num`` groups of eight rows of ``width`` numbers; each column of a group is transformed. What
    comes out is divided by 2**shift after ``half`` has been added.
    """
    k, bits = np.uint64(width), shift & np.int32(31)
    k2, k3 = k + k, k + k + k
    k4, k5, k6, k7 = k2 + k2, k2 + k3, k3 + k3, k3 + k2 + k2
    for group in range(num):
        base = np.uint64(8 * group) * k
        for column in range(width):
            p = base + np.uint64(column)
            # numba widens every result to 64 bits; cut to 32 at each step, twice as many fit a vector register.
            z2, z3 = points[p + k2], points[p + k6]
            z1 = i32((z2 + z3) * i32(4433))
            t2, t3 = i32(z1 - z3 * i32(15137)), i32(z1 + z2 * i32(6270))
            z2, z3 = points[p], points[p + k4]
            t0, t1 = i32(((z2 + z3) << i32(13)) + half), i32(((z2 - z3) << i32(13)) + half)
            e0, e3, e1, e2 = i32(t0 + t3), i32(t0 - t3), i32(t1 + t2), i32(t1 - t2)
            t0, t1, t2, t3 = points[p + k7], points[p + k5], points[p + k3], points[p + k]
            z1, z2, z3, z4 = i32(t0 + t3), i32(t1 + t2), i32(t0 + t2), i32(t1 + t3)
            z5 = i32((z3 + z4) * i32(9633))
            z1, z2 = i32(z1 * i32(-7373)), i32(z2 * i32(-20995))
            z3, z4 = i32(z3 * i32(-16069) + z5), i32(z4 * i32(-3196) + z5)
            o0, o1 = i32(t0 * i32(2446) + z1 + z3), i32(t1 * i32(16819) + z2 + z4)
            o2, o3 = i32(t2 * i32(25172) + z2 + z3), i32(t3 * i32(12299) + z1 + z4)
            out[p], out[p + k7] = i32(e0 + o3) >> bits, i32(e0 - o3) >> bits
            out[p + k], out[p + k6] = i32(e1 + o2) >> bits, i32(e1 - o2) >> bits
            out[p + k2], out[p + k5] = i32(e2 + o1) >> bits, i32(e2 - o1) >> bits
            out[p + k3], out[p + k4] = i32(e3 + o0) >> bits, i32(e3 - o0) >> bits


@inlined_kernel
def _write_rows(levels: Array, across: int, top: int, out: Array) -> None:
    """Put 8 rows of levels, cut off at 0 and 255, into ``out`` (S, S / 8), whose numbers hold 8 pixels each."""
    lanes = np.uint64(across)
    for line in range(8):
        row = np.uint64(top + line)
        for block in range(across):
            low = high = np.uint32(0)
            for j in range(4):
                place = np.uint64(line * 8 + j) * lanes + np.uint64(block)
                left, right = levels[place], levels[place + np.uint64(4) * lanes]
                low |= np.uint32(min(np.int32(255), max(np.int32(0), left))) << np.uint32(8 * j)
                high |= np.uint32(min(np.int32(255), max(np.int32(0), right))) << np.uint32(8 * j)
            out[row, np.uint64(block)] = np.uint64(low) | np.uint64(high) << np.uint64(32)


@inlined_kernel
def _draw(coefficients: Array, steps: Array, work: Array, levels: Array, out: Array) -> None:
    """Turn the coefficients of a picture into its pixels, ``out`` (S, S / 8) uint64."""
    across = out.shape[1]
    for row in range(out.shape[0] // 8):
        start = row * across * jpeg.ROW_COEFFICIENTS
        _dequantise(coefficients[start : start + 64 * across], steps, work)
        _transform(work, 1, 8 * across, i32(1 << 10), i32(11), levels)
        # Behind the second pass 128 is added, in units of its 18 bits, and half a unit for rounding.
        _transform(levels, 8, across, i32((128 << 18) + (1 << 17)), i32(18), work)
        _write_rows(work, across, row * 8, out)


@inlined_kernel
def _open(data: Array, start: Any, end: Any, header: Array, scan: Array) -> Any:
    """Unstuff the JPEG in ``data[start:end]`` to ``scan``: its number of bits; -1 if it is not of the known kind."""
    if end - start < len(header) + 2:
        return np.int64(-1)
    differs = np.uint8(0)
    for i in range(len(header)):
        differs |= data[np.uint64(start + i)] ^ header[i]
    at, num_bytes = _unstuff(data, start + len(header), end, scan)
    if differs != 0 or at + 2 != end or data[np.uint64(at)] != 0xFF or data[np.uint64(at + 1)] != 0xD9:
        return np.int64(-1)
    scan[num_bytes : num_bytes + jpeg.PADDING_BYTES] = 0
    return 8 * num_bytes


@inlined_kernel
def decode_batch(
    data: Array, pointers: Array, sizes: Array, order: Array, tables: Any, out: Array, status: Array, tasks: Array
) -> None:
    """Decode the JPEGs at ``pointers`` (B,) of ``sizes`` (B,) bytes in ``data`` to ``out`` (B, S, S / 8) uint64.

    ``order`` (B,) int64 lists them by size, so that two that are read side by side end together. ``status`` (B,)
    uint8 tells which are REGULAR; the pixels of the others mean nothing. ``tables`` is
    ``datasets.images.by_hand.gray_jpeg.Tables.arrays``. ``tasks`` (``shared_work.new_tasks``) counts pairs.
    """
    header, pairs, dc, ac_short, ac_long, places, starts, steps = tables
    across, longest, num = out.shape[2], np.int64(sizes.max()), len(pointers)
    num_blocks = across * (out.shape[1] // 8)
    codes = Codes(
        pairs.ctypes.data,
        dc.ctypes.data,
        ac_short.ctypes.data,
        ac_long.ctypes.data,
        places.ctypes.data,
        starts.ctypes.data,
        num_blocks,
    )
    scans = np.empty((2, longest + jpeg.PADDING_BYTES + jpeg.CHUNK_BYTES), dtype=np.uint8)
    coefficients = np.empty((2, num_blocks * jpeg.ROW_COEFFICIENTS), dtype=np.int16)
    work, levels = np.empty(64 * across, dtype=np.int32), np.empty(64 * across, dtype=np.int32)
    num_bits = np.empty(2, dtype=np.int64)
    next_task = np.int64(tasks.ctypes.data)
    first = 2 * add_atomically(next_task, 1)
    while first < num:
        coefficients[:] = 0
        for side in range(2):
            b = order[min(first + side, num - 1)]
            start = np.int64(pointers[b])
            num_bits[side] = _open(data, start, start + np.int64(sizes[b]), header, scans[side])
        a = Source(scans[0].ctypes.data, coefficients[0].ctypes.data, max(np.int64(0), num_bits[0]))
        c = Source(scans[1].ctypes.data, coefficients[1].ctypes.data, max(np.int64(0), num_bits[1]))
        states = _read_codes(codes, a, c)
        for side in range(2):
            if first + side < num:
                b, state = order[first + side], states[side]
                rest = num_bits[side] - state.bit
                status[b] = REGULAR if state.block == num_blocks and 0 <= rest < 8 else IRREGULAR
                if status[b] == REGULAR:
                    _draw(coefficients[side], steps, work, levels, out[b])
        add_atomically(next_task + 8 * CACHE_LINE, 1)
        first = 2 * add_atomically(next_task, 1)
