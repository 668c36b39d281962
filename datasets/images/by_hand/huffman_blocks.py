"""The entropy-coded bytes of a gray baseline JPEG come in; the first three coefficients of each block go out.

Nearly all the time goes to waiting, since where a code begins is known only when the one before has been looked up.
So the data is read at two places at once: from where reading has come to, and from the middle of the rest. The second
reader begins anywhere, most likely within a block, and what it reads at first is nonsense. But Huffman codes fall
into step by themselves, usually within a few blocks. Once the first reader comes to a bit at which the second began a
block, everything that the second has read from there on is right, but for the level that its first block added to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from datasets.images.by_hand.huffman import (
    CODE_BITS,
    ENDED,
    FIRST_BITS,
    FIRST_SHIFT,
    LENGTH_MASK,
    NOTHING,
    PASSED_MASK,
    RUN_SHIFT,
    SECOND_SHIFT,
    SHORT_BITS,
    SIZE_SHIFT,
    SKIP_BITS,
    SKIP_MASK,
    SKIP_SHIFT,
    Tables,
)
from datasets.images.by_hand.jpeg_bits import first_bits, load_bits, signed_number
from datasets.kernels.addresses import load_int32, load_int64, load_uint16
from datasets.kernels.threads import inlined_kernel, merged_kernel

PADDING_BYTES = 320
"""More than the 64 longest symbols of a block and a load, so that none leaves the memory before the next check."""
CHUNK_BYTES = 64
LOOKUPS = 4
"""Lookups that the 57 bits of one load hold."""
FAILED = 1 << 62
"""Bit at which reading goes on when the data is not regular."""
LONGEST_BLOCK = 2048
"""Bits; no block is longer."""
WORTH_TWO = 4 * LONGEST_BLOCK
"""Bits below which one reader alone reads what is left."""
MOST_FOR_TWO = 1 << 31
"""Bits, half of which still are a number of 32 bits; no radiograph has so many."""

Array = Any


class Codes(NamedTuple):
    """Addresses of the arrays of ``Tables``."""

    dc_short: int
    dc_long: int
    ac_short: int
    ac_long: int
    first: int
    skip: int


@inlined_kernel
def unstuff(data: Array, start: int, out: Array) -> tuple[Any, Any]:
    """Copy the scan at ``start``, up to the next marker, without the zero behind each 255: bytes read and written.

    ``out`` must be as long as ``data``.
    """
    at, place, end, chunk = np.uint64(start), np.uint64(0), np.uint64(len(data)), np.uint64(CHUNK_BYTES)
    while at < end:
        num = min(chunk, end - at)
        first = np.int32(num)
        if num == chunk:
            # Without branches, so that the compiler makes vector code of it.
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
            if at + np.uint64(1) >= end or data[at + np.uint64(1)] != 0:
                break
            at += np.uint64(2)
            place += np.uint64(1)
    return np.int64(at) - start, np.int64(place)


@merged_kernel
def _symbol(short: Any, long: Any, word: Any) -> tuple[Any, Any, Any]:
    """Length of the first code (0: there is none), bits of the number behind it, zeros before it."""
    entry = np.int64(load_int32(short, first_bits(word, SHORT_BITS)))
    if entry == 0:
        entry = np.int64(load_int32(long, first_bits(word, CODE_BITS)))
    return entry & LENGTH_MASK, entry >> SIZE_SHIFT & 15, entry >> RUN_SHIFT


@merged_kernel
def _is_end(place: Any) -> Any:
    return place == 64 or ENDED <= place < ENDED + 64


@merged_kernel
def _begin_block(codes: Any, data: Any, bit: Any, level: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Read the first symbols of the block at ``bit``: where the next begins, its place, level and coefficients."""
    word = load_bits(data, bit)
    length, size, _ = _symbol(codes.dc_short, codes.dc_long, word)
    unknown = length == 0
    level += signed_number(word, length, size)
    word <<= np.uint64(length + size)
    packet = np.int64(load_int64(codes.first, first_bits(word, FIRST_BITS)))
    across, down = (packet << (48 - FIRST_SHIFT)) >> 48, (packet << (48 - SECOND_SHIFT)) >> 48
    bit += length + size + (packet & SKIP_MASK)
    place = 1 + (packet >> SKIP_SHIFT & PASSED_MASK)
    while place < 3:
        word = load_bits(data, bit)
        length, size, run = _symbol(codes.ac_short, codes.ac_long, word)
        place += run
        across = signed_number(word, length, size) if place == 1 else across
        down = signed_number(word, length, size) if place == 2 else down
        place = place + 1 if length > 0 else np.int64(NOTHING)
        bit += length + size
    return bit, np.int64(NOTHING) if unknown else place, level, across, down


@merged_kernel
def _end_block(codes: Any, data: Any, num_bits: Any, bit: Any, place: Any) -> Any:
    """Read the rest of a block: where the next begins, or FAILED."""
    while place < 64:
        word, entry = load_bits(data, bit), np.int64(0)
        for _ in range(LOOKUPS):
            # Always as many, without effect once the block has ended: a branch that is guessed wrong costs more.
            found = np.int64(load_uint16(codes.skip, first_bits(word, SKIP_BITS)))
            going = (place - 64) >> 63
            found &= going
            entry = found | (entry & ~going)
            word <<= np.uint64(found & SKIP_MASK)
            bit += found & SKIP_MASK
            place += found >> SKIP_SHIFT
        if place > 64 and not _is_end(place):
            # The last lookup held no whole symbol, or ran on into the next block: take its first symbol alone.
            bit -= entry & SKIP_MASK
            place -= entry >> SKIP_SHIFT
            length, size, run = _symbol(codes.ac_short, codes.ac_long, load_bits(data, bit))
            bit += length + size
            place = place + run + 1 if length > 0 else np.int64(NOTHING)
    return bit if _is_end(place) and bit <= num_bits else np.int64(FAILED)


@merged_kernel
def _read_block(codes: Any, data: Any, num_bits: Any, bit: Any, level: Any) -> tuple[Any, Any, Any, Any]:
    """Read the block at ``bit``: where the next begins or FAILED, its level, and the two coefficients behind it."""
    bit, place, level, across, down = _begin_block(codes, data, bit, level)
    return _end_block(codes, data, num_bits, bit, place), level, across, down


@inlined_kernel
def _meet(codes: Any, data: Any, num_bits: Any, bit: Any, level: Any, block: Any, out: Array, later: Array) -> Any:
    """Read on from ``bit``, and from the middle of the rest as well: the state where both have been put together.

    ``later`` (N, 4) int32 is room for what the second reader reads: bits from the middle to each block, coefficients.
    """
    num_blocks, last = len(out), num_bits - LONGEST_BLOCK
    middle = (bit + num_bits) // 2
    begin, num_later, bit_2, level_2 = middle, 0, middle, np.int64(0)
    while block < num_blocks and bit < begin and bit_2 < last and num_later < num_blocks:
        later[num_later, 0] = bit_2 - middle
        # Both are begun before either is ended: then the core has the work of both before it at once.
        bit, place, level, across, down = _begin_block(codes, data, bit, level)
        bit_2, place_2, level_2, across_2, down_2 = _begin_block(codes, data, bit_2, level_2)
        bit = _end_block(codes, data, num_bits, bit, place)
        bit_2 = _end_block(codes, data, num_bits, bit_2, place_2)
        out[block, 0], out[block, 1], out[block, 2] = level, across, down
        later[num_later, 1], later[num_later, 2], later[num_later, 3] = level_2, across_2, down_2
        block, num_later = block + 1, num_later + 1
        if bit_2 == FAILED:
            begin, num_later = begin + 1, 0
            bit_2, level_2 = begin, np.int64(0)
    meeting = 0
    while block < num_blocks and bit != FAILED and meeting < num_later:
        if middle + later[meeting, 0] < bit:
            meeting += 1
        elif middle + later[meeting, 0] > bit:
            bit, level, across, down = _read_block(codes, data, num_bits, bit, level)
            out[block, 0], out[block, 1], out[block, 2] = level, across, down
            block += 1
        else:
            if num_later - meeting > num_blocks - block:
                return np.int64(FAILED), level, block  # more blocks than the picture has
            raised = level - (later[meeting - 1, 1] if meeting > 0 else 0)
            for i in range(meeting, num_later):
                out[block, 0], out[block, 1], out[block, 2] = later[i, 1] + raised, later[i, 2], later[i, 3]
                block += 1
            return bit_2, level_2 + raised, block
    return bit, level, block


@inlined_kernel
def decode_blocks(data: Array, num_bytes: int, tables: Tables, out: Array) -> Any:
    """Fill ``out`` (N, 3) int32 with the first coefficients of each block, the first of all summed up.

    ``data`` has ``num_bytes`` unstuffed bytes and ``PADDING_BYTES`` zeros behind them.

    Returns:
        Whether every block was regular and the data ends with the last.
    """
    dc_short, dc_long, ac_short, ac_long, first, skip = tables
    codes = Codes(
        dc_short.ctypes.data,
        dc_long.ctypes.data,
        ac_short.ctypes.data,
        ac_long.ctypes.data,
        first.ctypes.data,
        skip.ctypes.data,
    )
    num_bits, address = np.int64(8 * num_bytes), data.ctypes.data
    later = np.empty((len(out), 4), dtype=np.int32)
    bit, level, block = np.int64(0), np.int64(0), 0
    while block < len(out) and WORTH_TWO < num_bits - bit < MOST_FOR_TWO:
        bit, level, block = _meet(codes, address, num_bits, bit, level, block, out, later)
    while block < len(out) and bit != FAILED:
        bit, level, across, down = _read_block(codes, address, num_bits, bit, level)
        out[block, 0], out[block, 1], out[block, 2] = level, across, down
        block += 1
    return block == len(out) and 0 <= num_bits - bit < 8
