"""The entropy-coded bytes of a gray baseline JPEG come in; the first few coefficients of each block go out.

The others are skipped, several at a lookup: at a quarter of the size three coefficients of 64 are wanted, and finding
where they end is what decoding costs. Anything irregular is left to libjpeg-turbo, which says what is wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.threads import inlined_kernel

CODE_BITS = 16
"""Longest Huffman code of a JPEG."""
SHORT_BITS = 12
"""Bits looked at for one symbol; longer codes, which are rare, take the table of 16 bits."""
SKIP_BITS = 14
"""Bits looked at to skip as many coefficients as they hold: four lookups use up one load, and the table fits L1."""
LENGTH_MASK, SIZE_SHIFT, RUN_SHIFT = 63, 8, 16
SKIP_MASK, SKIP_SHIFT = 31, 5
ENDED = 128
"""Added to the place within a block by the symbol that ends it."""
NOTHING = 255
"""What a place is raised by where not even one symbol lies whole within the bits looked at."""
MAX_DC_SIZE = 11
"""Bits of the largest difference between the means of two blocks."""
PADDING_BYTES = 320
"""More than the 64 longest symbols of a block and a load, so that none leaves the memory before the next check."""
CHUNK_BYTES = 64

Array = Any


def symbol_table(counts: bytes, symbols: bytes) -> np.ndarray | None:
    """Length, size and run (65536,) int32 of the symbol that each 16 bits begin with, 0 where no code fits.

    None for counts and symbols that make no prefix code of JPEG's kind.
    """
    if len(counts) != CODE_BITS or len(symbols) != sum(counts) or not symbols:
        return None
    table = np.zeros(1 << CODE_BITS, dtype=np.int32)
    at, place = 0, 0
    for length, count in enumerate(counts, start=1):
        width = 1 << (CODE_BITS - length)
        if at + count * width > len(table):
            return None
        for symbol in symbols[place : place + count]:
            table[at : at + width] = length | (symbol & 15) << SIZE_SHIFT | (symbol >> 4) << RUN_SHIFT
            at += width
        place += count
    return table


def with_block_ends(table: np.ndarray) -> np.ndarray:
    """The AC table, in which the end of a block is a run of 127, and symbols that AC has none of are taken out."""
    size, run = table >> SIZE_SHIFT & 15, table >> RUN_SHIFT
    unlawful = (size == 0) & (run > 0) & (run < 15)
    ends = (table != 0) & (size == 0) & (run == 0)
    return np.where(unlawful, 0, table | np.where(ends, (ENDED - 1) << RUN_SHIFT, 0)).astype(np.int32)


def short_table(table: np.ndarray) -> np.ndarray:
    """The table by the first 12 bits, 0 where a code is longer."""
    short = table[:: 1 << (CODE_BITS - SHORT_BITS)]
    return np.where(short & LENGTH_MASK <= SHORT_BITS, short, 0)


def skip_table(ac: np.ndarray) -> np.ndarray:
    """Bits and coefficients (16384,) uint16 of all symbols that lie whole within 14 bits, up to the block's end."""
    used = np.zeros(1 << SKIP_BITS, dtype=np.int32)
    passed, going = np.zeros_like(used), np.ones(len(used), dtype=bool)
    prefixes = np.arange(len(used), dtype=np.int32) << (CODE_BITS - SKIP_BITS)
    while going.any():
        entry = ac[(prefixes << used) & 0xFFFF]
        length, step = (entry & LENGTH_MASK) + (entry >> SIZE_SHIFT & 15), (entry >> RUN_SHIFT) + 1
        # Up to 63 in all, so that a place raised by this is never taken for an end that was not there.
        fits = (used + length <= SKIP_BITS) & ((step == ENDED) | (passed + step < 64))
        going &= (entry != 0) & fits
        used += np.where(going, length, 0)
        passed += np.where(going, step, 0)
        going &= step != ENDED
    passed[used == 0] = NOTHING
    return (used | passed << SKIP_SHIFT).astype(np.uint16)


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


@inlined_kernel
def _load(data: Array, bit: Any) -> Any:
    """The 57 or more bits from ``bit`` on, at the upper end of 64."""
    at, word = np.uint64(bit) >> np.uint64(3), np.uint64(0)
    for i in range(8):
        word = (word << np.uint64(8)) | np.uint64(data[at + np.uint64(i)])
    return word << (np.uint64(bit) & np.uint64(7))


@inlined_kernel
def _symbol(short: Array, long: Array, word: Any) -> tuple[Any, Any, Any]:
    """Length of the first code (0: there is none), bits of the number behind it, zeros before it."""
    entry = short[word >> np.uint64(64 - SHORT_BITS)]
    if entry == 0:
        entry = long[word >> np.uint64(64 - CODE_BITS)]
    return np.int64(entry & LENGTH_MASK), np.int64(entry >> SIZE_SHIFT & 15), np.int64(entry >> RUN_SHIFT)


@inlined_kernel
def _number(word: Any, length: Any, size: Any) -> Any:
    """The signed number in the ``size`` bits behind a code of ``length`` bits; without branches."""
    rest = word << np.uint64(length)
    bits = np.int64((rest >> np.uint64(1)) >> np.uint64(63 - size))
    negative = np.int64(rest >> np.uint64(63)) - 1
    return bits - (negative & ((np.int64(1) << size) - 1))


@inlined_kernel
def _is_end(place: Any) -> Any:
    return place == 64 or ENDED <= place < ENDED + 64


@inlined_kernel
def decode_blocks(
    data: Array,
    num_bytes: int,
    dc_short: Array,
    dc_long: Array,
    ac_short: Array,
    ac_long: Array,
    skip: Array,
    out: Array,
) -> Any:
    """Fill ``out`` (N, K) int32, zeros on entry, with the first K of 1 to 5 coefficients of each block, DC summed up.

    ``data`` has ``num_bytes`` unstuffed bytes and ``PADDING_BYTES`` zeros behind them; the tables are those of
    ``short_table``, ``symbol_table``, ``with_block_ends`` and ``skip_table``.

    Returns:
        Whether every block was regular and the data ends with the last.
    """
    bit, level, num_kept = np.int64(0), np.int64(0), out.shape[1]
    for block in range(len(out)):
        word, place, entry = _load(data, bit), np.int64(1), np.int64(0)
        length, size, _ = _symbol(dc_short, dc_long, word)
        if length == 0:
            return False
        level += _number(word, length, size)
        out[block, 0] = level
        bit += length + size
        word <<= np.uint64(length + size)
        while place < num_kept:
            length, size, run = _symbol(ac_short, ac_long, word)
            if length == 0:
                return False
            place += run
            if place < num_kept:
                out[block, place] = _number(word, length, size)
            place += 1
            bit += length + size
            word = _load(data, bit)
        # The rest is skipped here and not in a function: numba would count references to its arrays in every round.
        while place < 64:
            word = _load(data, bit)
            for _ in range(4):
                entry = np.int64(skip[word >> np.uint64(64 - SKIP_BITS)])
                word <<= np.uint64(entry & SKIP_MASK)
                bit += entry & SKIP_MASK
                place += entry >> SKIP_SHIFT
                if place >= 64:
                    break
            if place > 64 and not _is_end(place):
                # The last lookup held no whole symbol, or ran on into the next block: take its first symbol alone.
                bit -= entry & SKIP_MASK
                place -= entry >> SKIP_SHIFT
                length, size, run = _symbol(ac_short, ac_long, _load(data, bit))
                bit += length + size
                place = place + run + 1 if length > 0 else np.int64(NOTHING)
        if not _is_end(place) or bit > 8 * num_bytes:
            return False
    return 8 * num_bytes - bit < 8
