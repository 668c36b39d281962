"""What the kernel of gray JPEGs works with: numbers of the format, addresses of tables, the state of reading."""

from __future__ import annotations

from typing import NamedTuple

LOOKUP_BITS, DC_BITS = 12, 10
"""Bits of one lookup: of one or two AC symbols with their values; of the code of a DC symbol."""
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
ROW_COEFFICIENTS = 65
"""Coefficients kept for each block of a row: 64, and one for what belongs nowhere."""
CHUNK_BYTES = 64
PADDING_BYTES = 384
"""Zeros behind the data: more than the longest block and a load, since the end is looked for after each block."""
FAILED = 1 << 40
"""Number of the block to go on with when the data is not regular."""


class Codes(NamedTuple):
    """Addresses of the tables that ``gray_jpeg.Tables`` holds, and the number of blocks of a picture."""

    pairs: int
    dc: int
    ac_short: int
    ac_long: int
    places: int
    starts: int
    num_blocks: int


class Source(NamedTuple):
    """Addresses of a picture's unstuffed data and of its coefficients, and the data's length."""

    data: int
    coefficients: int
    num_bits: int


class State(NamedTuple):
    """How far the codes of a picture are read."""

    word: int
    """The next bits, at the upper end of 64."""
    bit: int
    place: int
    """Number within the block of the coefficient that was read last."""
    block: int
    """The number of blocks when all are read; FAILED when the data is not regular."""
    level: int
    """DC of the last block."""
