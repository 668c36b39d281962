"""Gray baseline JPEGs with one header come in; their pixels go out, bit for bit those of libjpeg's slow transform.

Nearly all the time of a JPEG of high quality goes to its Huffman codes. One lookup of 12 bits yields one or two whole
coefficients here, values included, and the inverse cosine transform runs over a row of blocks at once, one block in
each lane of a vector register. Anything irregular is only found, not mended: libjpeg-turbo then says what it is.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from datasets.threads import inlined_kernel, parallel_kernel

LOOKUP_BITS = 12
CODE_BITS = 16
"""Longest Huffman code of a JPEG."""
LOOKUPS = 4
"""Lookups that the 57 bits of one load hold."""
SKIP_1_SHIFT, SKIP_2_SHIFT, VALUE_1_SHIFT, VALUE_2_SHIFT = 8, 16, 32, 48
SIZE_SHIFT, RUN_SHIFT = 8, 16
ENDED = 128
"""What the symbol that ends a block raises the place within it by."""
NUM_PLACES = 512
"""More than any place that two symbols can lead to."""
LAST = 63
MAX_DC_SIZE = 11
CHUNK_BYTES = 64
PADDING_BYTES = 384
"""Zeros behind the data: more than the longest block and a load, since the end is looked for after each block."""
REGULAR, IRREGULAR = 0, 1

Array = Any


@inlined_kernel
def _unstuff(data: Array, start: int, end: int, out: Array) -> tuple[Any, Any]:
    """Copy ``data[start:end]`` up to a marker, without the zero behind each 255: place reached, bytes written."""
    at, place, limit, chunk = np.uint64(start), np.uint64(0), np.uint64(end), np.uint64(CHUNK_BYTES)
    while at < limit:
        num = min(chunk, limit - at)
        first = np.int32(num)
        if num == chunk:
            # Without branches and of known length, so that the compiler makes vector code of it.
            for i in range(CHUNK_BYTES):
                value = data[at + np.uint64(i)]
                out[place + np.uint64(i)] = value
                first = min(first, np.int32(i) if value == 255 else np.int32(CHUNK_BYTES))
        else:
            for i in range(np.int64(num)):
                value = data[at + np.uint64(i)]
                out[place + np.uint64(i)] = value
                first = min(first, np.int32(i) if value == 255 else np.int32(CHUNK_BYTES))
        at += np.uint64(first)
        place += np.uint64(first)
        if first < num:
            if at + np.uint64(1) >= limit or data[at + np.uint64(1)] != 0:
                break
            at += np.uint64(2)
            place += np.uint64(1)
    return np.int64(at), np.int64(place)


@inlined_kernel
def _load(data: Array, bit: Any) -> Any:
    """The 57 or more bits from ``bit`` on, at the upper end of 64."""
    at, word = np.uint64(bit) >> np.uint64(3), np.uint64(0)
    for i in range(8):
        word = (word << np.uint64(8)) | np.uint64(data[at + np.uint64(i)])
    return word << (np.uint64(bit) & np.uint64(7))


@inlined_kernel
def _number(word: Any, length: Any, size: Any) -> Any:
    """The signed number in the ``size`` bits behind a code of ``length`` bits; without branches."""
    rest = word << np.uint64(length)
    bits = np.int64((rest >> np.uint64(1)) >> np.uint64(63 - size))
    negative = np.int64(rest >> np.uint64(63)) - 1
    return bits - (negative & ((np.int64(1) << size) - 1))


@inlined_kernel
def _decode_row(
    data: Array,
    num_bits: Any,
    bit: Any,
    level: Any,
    across: int,
    pairs: Array,
    dc: Array,
    ac: Array,
    places: Array,
    coefficients: Array,
) -> tuple[Any, Any]:
    """Read the codes of one row of blocks: coefficient k of block b goes to ``coefficients[places[k] + b]``.

    Returns the bit behind the row and the last DC level; bit -1 for data that is not regular.
    """
    for i in range(64 * across):
        coefficients[i] = 0
    lookup, code = np.uint64(64 - LOOKUP_BITS), np.uint64(64 - CODE_BITS)
    for block in range(across):
        lane = np.uint64(block)
        word = _load(data, bit)
        symbol = np.int64(dc[word >> code])
        length, size = symbol & 63, symbol >> SIZE_SHIFT
        if symbol == 0 or size > MAX_DC_SIZE:
            return np.int64(-1), level
        level += _number(word, length, size)
        coefficients[lane] = level
        bit += length + size
        place: Any = np.int64(0)
        while place != LAST and place < ENDED:
            word = _load(data, bit)
            entry = used = first = np.int64(0)
            for _ in range(LOOKUPS):
                entry = pairs[word >> lookup]
                if entry == 0:
                    break
                used += entry  # its lowest six bits sum up the lengths; the others do no harm
                word <<= np.uint64(entry & 63)
                first = place + (entry >> SKIP_1_SHIFT & 255)
                place = first + (entry >> SKIP_2_SHIFT & 255)
                # Places above 63 lead to a dump behind the coefficients. Where there is no second symbol, the second
                # move repeats the first.
                coefficients[np.uint64(places[np.uint64(first)]) + lane] = entry >> VALUE_1_SHIFT
                coefficients[np.uint64(places[np.uint64(place)]) + lane] = entry >> VALUE_2_SHIFT
                if place >= LAST:
                    break
            bit += used & 63
            if entry != 0:
                if place < LAST or first < LAST or first == place:
                    if LAST < place < ENDED:
                        return np.int64(-1), level
                    continue
                # The block ended with the first symbol and the second is of the next: take the first alone.
                bit -= entry & 63
                place = first - (entry >> SKIP_1_SHIFT & 255)
            word = _load(data, bit)
            symbol = np.int64(ac[word >> code])
            length, size = symbol & 63, symbol >> SIZE_SHIFT & 15
            if symbol == 0:
                return np.int64(-1), level
            place += symbol >> RUN_SHIFT
            bit += length + size
            if LAST < place < ENDED:
                return np.int64(-1), level
            coefficients[np.uint64(places[np.uint64(place)]) + lane] = _number(word, length, size)
        if bit > num_bits:
            return np.int64(-1), level
    return bit, level


@inlined_kernel
def _dequantise(coefficients: Array, steps: Array, across: int, out: Array) -> None:
    for place in range(64):
        step, base = steps[place], np.uint64(place) * np.uint64(across)
        for block in range(across):
            out[base + np.uint64(block)] = coefficients[base + np.uint64(block)] * step


@inlined_kernel
def _transform(points: Array, across: int, next_start: int, stride: int, half: Any, shift: Any, out: Array) -> None:
    """Eight inverse cosine transforms of eight points (Loeffler, Ligtenberg and Moschytz, as libjpeg's jidctint.c).

    Of all blocks of a row at once: point k of transform n of block b is ``points[(n * next_start + k * stride) *
    across + b]``. What comes out is divided by 2**shift after ``half`` has been added.
    """
    k = np.uint64(stride) * np.uint64(across)
    k2, k3 = k + k, k + k + k
    k4, k5, k6, k7 = k2 + k2, k2 + k3, k3 + k3, k3 + k2 + k2
    for number in range(8):
        base = np.uint64(number * next_start) * np.uint64(across)
        for block in range(across):
            p = base + np.uint64(block)
            z2, z3 = points[p + k2], points[p + k6]
            z1 = (z2 + z3) * np.int32(4433)
            t2, t3 = z1 - z3 * np.int32(15137), z1 + z2 * np.int32(6270)
            z2, z3 = points[p], points[p + k4]
            t0, t1 = ((z2 + z3) << np.int32(13)) + half, ((z2 - z3) << np.int32(13)) + half
            e0, e3, e1, e2 = t0 + t3, t0 - t3, t1 + t2, t1 - t2
            t0, t1, t2, t3 = points[p + k7], points[p + k5], points[p + k3], points[p + k]
            z1, z2, z3, z4 = t0 + t3, t1 + t2, t0 + t2, t1 + t3
            z5 = (z3 + z4) * np.int32(9633)
            z1, z2 = z1 * np.int32(-7373), z2 * np.int32(-20995)
            z3, z4 = z3 * np.int32(-16069) + z5, z4 * np.int32(-3196) + z5
            o0, o1 = t0 * np.int32(2446) + z1 + z3, t1 * np.int32(16819) + z2 + z4
            o2, o3 = t2 * np.int32(25172) + z2 + z3, t3 * np.int32(12299) + z1 + z4
            out[p], out[p + k7] = (e0 + o3) >> shift, (e0 - o3) >> shift
            out[p + k], out[p + k6] = (e1 + o2) >> shift, (e1 - o2) >> shift
            out[p + k2], out[p + k5] = (e2 + o1) >> shift, (e2 - o1) >> shift
            out[p + k3], out[p + k4] = (e3 + o0) >> shift, (e3 - o0) >> shift


@inlined_kernel
def _write_rows(levels: Array, across: int, top: int, out: Array) -> None:
    """Put 8 rows of levels, cut off at 0 and 255, into ``out`` (S, S / 8), whose numbers hold 8 pixels each."""
    lanes = np.uint64(across)
    for line in range(8):
        row = np.uint64(top + line)
        for block in range(across):
            word = np.uint64(0)
            for j in range(8):
                level = levels[np.uint64(line * 8 + j) * lanes + np.uint64(block)]
                word |= np.uint64(min(np.int32(255), max(np.int32(0), level))) << np.uint64(8 * j)
            out[row, np.uint64(block)] = word


@inlined_kernel
def _decode_one(
    data: Array,
    start: Any,
    end: Any,
    header: Array,
    pairs: Array,
    dc: Array,
    ac: Array,
    places: Array,
    steps: Array,
    out: Array,
    scan: Array,
    coefficients: Array,
    work: Array,
    levels: Array,
) -> int:
    """Decode the JPEG in ``data[start:end]`` to ``out`` (S, S / 8) uint64; REGULAR or IRREGULAR."""
    if end - start < len(header) + 2:
        return IRREGULAR
    differs = np.uint8(0)
    for i in range(len(header)):
        differs |= data[np.uint64(start + i)] ^ header[i]
    if differs != 0:
        return IRREGULAR
    at, num_bytes = _unstuff(data, start + len(header), end, scan)
    if at + 2 != end or data[np.uint64(at)] != 0xFF or data[np.uint64(at + 1)] != 0xD9:
        return IRREGULAR
    scan[num_bytes : num_bytes + PADDING_BYTES] = 0
    across, num_bits = out.shape[1], 8 * num_bytes
    bit, level = np.int64(0), np.int64(0)
    for row in range(out.shape[0] // 8):
        bit, level = _decode_row(scan, num_bits, bit, level, across, pairs, dc, ac, places, coefficients)
        if bit < 0:
            return IRREGULAR
        _dequantise(coefficients, steps, across, work)
        _transform(work, across, 1, 8, np.int32(1 << 10), np.int32(11), levels)
        # Behind the second pass 128 is added, in units of its 18 bits, and half a unit for rounding.
        _transform(levels, across, 8, 1, np.int32((128 << 18) + (1 << 17)), np.int32(18), work)
        _write_rows(work, across, row * 8, out)
    return REGULAR if num_bits - bit < 8 else IRREGULAR


@parallel_kernel
def decode_batch(
    data: Array,
    pointers: Array,
    sizes: Array,
    header: Array,
    pairs: Array,
    dc: Array,
    ac: Array,
    places: Array,
    steps: Array,
    out: Array,
    status: Array,
    num_threads: int,
) -> None:
    """Decode the JPEGs at ``pointers`` (B,) of ``sizes`` (B,) bytes in ``data`` to ``out`` (B, S, S / 8) uint64.

    ``status`` (B,) uint8 tells which are REGULAR; the pixels of the others mean nothing. The tables are those of
    ``datasets.gray_jpeg.Tables``.
    """
    across, longest = out.shape[2], np.int64(sizes.max())
    for worker in numba.prange(num_threads):
        scan = np.empty(longest + PADDING_BYTES + CHUNK_BYTES, dtype=np.uint8)
        coefficients = np.empty(65 * across, dtype=np.int16)
        work, levels = np.empty(64 * across, dtype=np.int32), np.empty(64 * across, dtype=np.int32)
        for b in range(worker, len(pointers), num_threads):
            start = np.int64(pointers[b])
            end = start + np.int64(sizes[b])
            status[b] = _decode_one(
                data, start, end, header, pairs, dc, ac, places, steps, out[b], scan, coefficients, work, levels
            )
