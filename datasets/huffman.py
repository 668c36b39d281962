"""The entropy-coded bytes of a gray baseline JPEG come in; the first few coefficients of each block go out.

The others are skipped, several at a lookup: at a quarter of the size three coefficients of 64 are wanted, and finding
where they end is what decoding costs. Anything irregular is left to libjpeg-turbo, which says what is wrong.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from datasets.threads import inlined_kernel

CODE_BITS = 16
"""Longest Huffman code of a JPEG."""
SHORT_BITS = 12
"""Bits looked at for one symbol; longer codes, which are rare, take the table of 16 bits."""
SKIP_BITS = 14
"""Bits looked at to skip as many coefficients as they hold: four lookups use up one load, and the table fits L1."""
FIRST_BITS = 12
"""Bits looked at for the first symbols of a block, whose numbers are wanted."""
LENGTH_MASK, SIZE_SHIFT, RUN_SHIFT = 63, 8, 16
SKIP_MASK, SKIP_SHIFT, PASSED_MASK = 31, 5, 2047
FIRST_SHIFT, SECOND_SHIFT = 16, 32
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


class Tables(NamedTuple):
    """What codes are looked up in."""

    dc_short: np.ndarray
    """See ``short_table``."""
    dc_long: np.ndarray
    """See ``symbol_table``."""
    ac_short: np.ndarray
    ac_long: np.ndarray
    """See ``with_block_ends``."""
    first: np.ndarray
    """See ``first_table``."""
    skip: np.ndarray
    """See ``skip_table``."""


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


def first_table(ac: np.ndarray) -> np.ndarray:
    """What 12 bits at the start of a block's AC symbols hold (4096,) int64: the symbols that lie whole within them.

    Bits 0-4: their bits; 5-15: coefficients passed; 16-31 and 32-47: the first and second of these, signed.
    """
    used, passed, (first, second) = _packets(ac, FIRST_BITS)
    packets: np.ndarray = used | passed << SKIP_SHIFT
    packets |= (first & 0xFFFF) << FIRST_SHIFT | (second & 0xFFFF) << SECOND_SHIFT
    return packets


def skip_table(ac: np.ndarray) -> np.ndarray:
    """Bits, and coefficients passed << 5, (16384,) uint16 of the symbols that lie whole within 14 bits."""
    used, passed, _ = _packets(ac, SKIP_BITS)
    passed[used == 0] = NOTHING
    packets: np.ndarray = used | passed << SKIP_SHIFT
    return packets.astype(np.uint16)


def _packets(ac: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """For all that ``window`` bits may be: bits of whole symbols, coefficients passed, the first two coefficients.

    The end of a block counts as ``ENDED`` coefficients and is the last symbol taken.
    """
    bits = np.arange(1 << window, dtype=np.int64)
    used, passed, going = np.zeros_like(bits), np.zeros_like(bits), np.ones(len(bits), dtype=bool)
    numbers = np.zeros_like(bits), np.zeros_like(bits)
    while going.any():
        entry = ac[(bits << (CODE_BITS - window) << used) & 0xFFFF]
        size, step = (entry >> SIZE_SHIFT & 15).astype(np.int64), (entry >> RUN_SHIFT).astype(np.int64) + 1
        length = (entry & LENGTH_MASK) + size
        # Up to 63 in all, so that a place raised by this is never taken for an end that was not there.
        fits = (used + length <= window) & np.where(step == ENDED, passed < 63, passed + step < 64)
        going &= (entry != 0) & fits
        raw = bits >> np.maximum(window - used - length, 0) & ((1 << size) - 1)
        number = np.where(raw << 1 >> size == 0, raw - (1 << size) + 1, raw)
        for place, found in enumerate(numbers, start=1):
            found[:] = np.where(going & (size > 0) & (passed + step == place), number, found)
        used += np.where(going, length, 0)
        passed += np.where(going, step, 0)
        going &= step != ENDED
    return used, passed, numbers


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
def _signed(packet: Any, shift: Any) -> Any:
    """The 16 bits of a packet from ``shift`` on, as a signed number."""
    return (packet << (48 - shift)) >> 48


@inlined_kernel
def _is_end(place: Any) -> Any:
    return place == 64 or ENDED <= place < ENDED + 64


@inlined_kernel
def decode_blocks(data: Array, num_bytes: int, tables: Tables, out: Array) -> Any:
    """Fill ``out`` (N, 3) int32 with the first coefficients of each block, the first of all summed up.

    ``data`` has ``num_bytes`` unstuffed bytes and ``PADDING_BYTES`` zeros behind them.

    Returns:
        Whether every block was regular and the data ends with the last.
    """
    dc_short, dc_long, ac_short, ac_long, first, skip = tables
    bit, level = np.int64(0), np.int64(0)
    for block in range(len(out)):
        word, entry = _load(data, bit), np.int64(0)
        length, size, _ = _symbol(dc_short, dc_long, word)
        if length == 0:
            return False
        level += _number(word, length, size)
        word <<= np.uint64(length + size)
        packet = first[word >> np.uint64(64 - FIRST_BITS)]
        out[block, 0] = level
        out[block, 1], out[block, 2] = _signed(packet, FIRST_SHIFT), _signed(packet, SECOND_SHIFT)
        word <<= np.uint64(packet & SKIP_MASK)
        bit += length + size + (packet & SKIP_MASK)
        place = 1 + (packet >> SKIP_SHIFT & PASSED_MASK)
        while place < out.shape[1]:
            word = _load(data, bit)
            length, size, run = _symbol(ac_short, ac_long, word)
            if length == 0:
                return False
            place += run
            if place < out.shape[1]:
                out[block, place] = _number(word, length, size)
            place += 1
            bit += length + size
            word <<= np.uint64(length + size)
        # The rest is skipped here and not in a function: numba would count references to its arrays in every round.
        lookups = 1
        while place < 64:
            for _ in range(lookups):
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
            word, lookups = _load(data, bit), 4
        if not _is_end(place) or bit > 8 * num_bytes:
            return False
    return 8 * num_bytes - bit < 8
