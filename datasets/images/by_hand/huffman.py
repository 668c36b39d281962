"""The Huffman codes of a gray baseline JPEG come in; tables in which several symbols are looked up at once go out.

At a quarter of the size three coefficients of 64 are wanted. The others are skipped, several at a lookup, since
finding where they end is what decoding costs. Anything irregular is left to libjpeg-turbo, which says what is wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

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
