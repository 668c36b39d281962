"""The gray JPEGs of a beton come in; their pixels go out, decoded on all threads, or the reason why one cannot be.

All JPEGs of a beton are written by one encoder with one quality and size, so they share their header and their codes,
and tables made once serve them all. What is irregular goes to libjpeg-turbo (``datasets.images.jpeg``), which
decodes it or says what is wrong; without that library to OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from datasets.images.by_hand.gray_jpeg_kernel import decode_batch
from datasets.images.by_hand.gray_jpeg_types import (
    CODE_BITS,
    DC_BITS,
    ENDED,
    LOOKUP_BITS,
    NUM_PLACES,
    ROW_COEFFICIENTS,
    RUN_SHIFT,
    SIZE_SHIFT,
    SKIP_1_SHIFT,
    SKIP_2_SHIFT,
    VALUE_1_SHIFT,
    VALUE_2_SHIFT,
)
from datasets.images.by_hand.reduced_jpeg import read_scan
from datasets.images.jpeg import JpegError, decode_jpeg
from datasets.kernels.shared_work import begin_to_share, unowned

ZIGZAG = tuple(sorted(range(64), key=lambda p: (p // 8 + p % 8, p // 8 if (p // 8 + p % 8) % 2 else p % 8)))
"""Place in the 8 x 8 block, row by row, of each coefficient in the order of the file."""
QUANTISATION = b"\xff\xdb\x00\x43\x00"
"""Begins the table of 64 one-byte steps that all JPEGs of eight bits have."""


@dataclass(frozen=True, eq=False)
class Tables:
    """What all JPEGs with one header have in common."""

    header: np.ndarray
    """All bytes before the scan."""
    pairs: np.ndarray
    """(4096,) int64: the one or two AC symbols that lie whole in 12 bits, 0 if none does."""
    dc: np.ndarray
    """(1024,) int32: length and size of the symbol whose code 10 bits begin with, 0 if none does."""
    ac_short: np.ndarray
    ac_long: np.ndarray
    """(4096,) and (65536,) int32: length, size and step of the symbol whose code 12 or 16 bits begin with."""
    places: np.ndarray
    """(512,) int32: where a coefficient of the first block goes among those of the picture."""
    starts: np.ndarray
    """(blocks,) int32: how much further those of each block go."""
    steps: np.ndarray
    """(64 * S / 8,) int32 of quantisation, for the coefficients of a row of blocks."""

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All of them, as the kernel takes them."""
        return tuple(getattr(self, field.name) for field in fields(self))

    @classmethod
    def of(cls, jpeg: bytes, side: int) -> Tables | None:
        """Tables of a gray baseline JPEG of ``side`` x ``side`` pixels; None for any other."""
        scan = read_scan(jpeg)
        if scan is None or (scan.width, scan.height) != (side, side) or side % 8 != 0:
            return None
        found = jpeg.find(QUANTISATION, 0, scan.start)
        dc, ac = _symbols(scan.dc), _symbols(scan.ac)
        if found < 0 or dc is None or ac is None:
            return None
        begin = found + len(QUANTISATION)
        steps = np.zeros(64, dtype=np.int32)
        steps[list(ZIGZAG)] = np.frombuffer(jpeg[begin : begin + 64], dtype=np.uint8)
        across = side // 8
        places = np.full(NUM_PLACES, 64 * across, dtype=np.int32)
        places[:64] = np.array(ZIGZAG) * across
        row, column = np.divmod(np.arange(across * across, dtype=np.int32), across)
        ac = _with_steps(ac)
        return cls(
            header=np.frombuffer(jpeg[: scan.start], dtype=np.uint8),
            pairs=_pairs(ac),
            dc=_shortened(dc & 0xFFFF, DC_BITS),
            ac_short=_shortened(ac, LOOKUP_BITS),
            ac_long=ac,
            places=places,
            starts=(row * (across * ROW_COEFFICIENTS) + column).astype(np.int32),
            steps=np.repeat(steps, across),
        )


class GrayJpegs:
    """Decoder of the JPEGs in one file.

    ``first`` is one of them, by whose header the others are known.
    """

    def __init__(self, first: bytes, side: int, *, num_threads: int) -> None:
        self.side = side
        self.num_threads = num_threads
        self.tables = Tables.of(first, side)

    def decode(self, data: np.ndarray, pointers: np.ndarray, sizes: np.ndarray, out: np.ndarray) -> None:
        """Decode the JPEGs at ``pointers`` (B,) of ``sizes`` (B,) bytes in ``data`` to ``out`` (B, 1, S, S) uint8.

        Raises:
            DamagedJpegError: for the first that is not a whole gray JPEG of this size.
        """
        self.begin(data, pointers, sizes, out)()

    def begin(self, data: np.ndarray, pointers: np.ndarray, sizes: np.ndarray, out: np.ndarray) -> Callable[[], None]:
        """Begin with what ``decode`` does; what comes back is to be called once, and does the rest."""
        if self.tables is None or not len(pointers):
            return lambda: self._decode_each(data, pointers, sizes, out, np.arange(len(pointers)))
        # The largest first, so that no thread is left with a large one when the others have nothing more to do.
        status, order = np.empty(len(pointers), dtype=np.uint8), np.argsort(sizes)[::-1].copy()
        pixels = unowned(out.reshape(len(out), self.side, self.side).view(np.uint64))
        arguments = (data, pointers, sizes, order, self.tables.arrays, pixels, status)
        count, owners = -(-len(out) // 2), (data, out)
        work = begin_to_share(decode_batch, *arguments, count=count, num_threads=self.num_threads, held=owners)

        def finish() -> None:
            work.finish()
            self._decode_each(data, pointers, sizes, out, np.flatnonzero(status))

        return finish

    def _decode_each(
        self, data: np.ndarray, pointers: np.ndarray, sizes: np.ndarray, out: np.ndarray, positions: np.ndarray
    ) -> None:
        """Decode the JPEGs at these positions of the batch one by one."""
        for position in positions:
            start = int(pointers[position])
            out[position, 0] = self._decode_slowly(
                data[start : start + int(sizes[position])].tobytes(), int(position)
            )

    def _decode_slowly(self, jpeg: bytes, position: int) -> np.ndarray:
        try:
            gray = decode_jpeg(jpeg)
        except JpegError as error:
            raise DamagedJpegError(position, str(error)) from error
        except ImportError:
            gray = _decode_with_opencv(jpeg, position)
        if gray.shape != (self.side, self.side):
            raise DamagedJpegError(position, f"its size is {gray.shape[1]} x {gray.shape[0]}")
        return gray


class DamagedJpegError(ValueError):
    """A JPEG that cannot be decoded: its position in the batch, and the reason."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position


def _decode_with_opencv(jpeg: bytes, position: int) -> np.ndarray:
    """OpenCV swallows the warnings of its decoder, so at least the ends are looked at."""
    import cv2

    gray = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), cv2.IMREAD_GRAYSCALE) if jpeg else None
    if gray is None or not jpeg.endswith(b"\xff\xd9"):
        raise DamagedJpegError(position, "not a whole JPEG")
    return np.asarray(gray)


def _symbols(code: bytes) -> np.ndarray | None:
    """Length, size and run (65536,) int32 of the symbol that each 16 bits begin with, 0 where none does."""
    counts, symbols = code[:16], code[16:]
    if len(counts) != CODE_BITS or len(symbols) != sum(counts) or not symbols:
        return None
    table = np.zeros(1 << CODE_BITS, dtype=np.int32)
    at = place = 0
    for length, count in enumerate(counts, start=1):
        width = 1 << (CODE_BITS - length)
        if at + count * width > len(table):
            return None
        for symbol in symbols[place : place + count]:
            table[at : at + width] = length | (symbol & 15) << SIZE_SHIFT | (symbol >> 4) << RUN_SHIFT
            at += width
        place += count
    return table


def _shortened(table: np.ndarray, num_bits: int) -> np.ndarray:
    """The table by the first ``num_bits`` bits, 0 where a code is longer."""
    short = table[:: 1 << (CODE_BITS - num_bits)]
    return np.where(short & 63 <= num_bits, short, 0).astype(np.int32)


def _with_steps(ac: np.ndarray) -> np.ndarray:
    """The AC table with the step to the next place instead of the run, and without symbols that AC has none of."""
    size, run = ac >> SIZE_SHIFT & 15, ac >> RUN_SHIFT
    step = np.where((size == 0) & (run == 0), ENDED, run + 1)
    unlawful = (ac == 0) | ((size == 0) & (run > 0) & (run < 15))
    return np.where(unlawful, 0, ac & 0xFFFF | step << RUN_SHIFT).astype(np.int32)


def _pairs(ac: np.ndarray) -> np.ndarray:
    """What ``Tables.pairs`` holds: length of all, steps of both, values of both; both the same if there is one."""
    prefixes = np.arange(1 << LOOKUP_BITS, dtype=np.int64)
    length, step, value = _symbol_at(ac, prefixes)
    whole = (length > 0) & (length <= LOOKUP_BITS)
    rest = prefixes << np.where(whole, length, 0) & (1 << LOOKUP_BITS) - 1
    length_2, step_2, value_2 = _symbol_at(ac, rest)
    second = whole & (step < ENDED) & (length_2 > 0) & (length + length_2 <= LOOKUP_BITS)
    entry = length + np.where(second, length_2, 0)
    entry |= step << SKIP_1_SHIFT | np.where(second, step_2, 0) << SKIP_2_SHIFT
    entry |= (value & 0xFFFF) << VALUE_1_SHIFT | np.where(second, value_2, value) << VALUE_2_SHIFT
    return np.where(whole, entry, 0)


def _symbol_at(ac: np.ndarray, prefixes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Length with its number, step and number of the symbol that each 12 bits begin with; bits beyond count as 0."""
    entry = ac[prefixes << (CODE_BITS - LOOKUP_BITS)].astype(np.int64)
    length, size, step = entry & 63, entry >> SIZE_SHIFT & 15, entry >> RUN_SHIFT
    bits = prefixes >> np.maximum(LOOKUP_BITS - length - size, 0) & (1 << size) - 1
    value = np.where(bits < 1 << np.maximum(size - 1, 0), bits - (1 << size) + 1, bits)
    return np.where(entry == 0, 0, length + size), step, np.where(size == 0, 0, value)
