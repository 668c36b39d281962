"""A large gray baseline JPEG comes in; its pixels at a quarter or an eighth of the size go out.

An eighth is the mean of each block of 8 x 8 pixels. A quarter is what the block's mean and its lowest horizontal and
vertical frequency say of its four quarters; all higher frequencies are what an antialiasing filter takes away.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from datasets.images.by_hand import huffman
from datasets.images.by_hand.huffman_blocks import PADDING_BYTES, decode_blocks, unstuff
from datasets.kernels.threads import inlined_kernel

NUM_KEPT = 3
"""Coefficients read of each block."""
START_OF_FRAME, HUFFMAN_TABLES, QUANTISATION, START_OF_SCAN = (0xC0, 0xC1), 0xC4, 0xDB, 0xDA
RESTART_INTERVAL = 0xDD
WITHOUT_EFFECT = (*range(0xE0, 0xF0), 0xFE)
END_OF_IMAGE = b"\xff\xd9"

Array = Any


@dataclass(frozen=True)
class Scan:
    """Where the only scan of a gray JPEG begins and how it is coded."""

    width: int
    height: int
    quantisation: tuple[int, int, int]
    """Steps of the three coefficients that are used."""
    dc: bytes
    """16 counts of code lengths, then the symbols."""
    ac: bytes
    start: int


def decode_reduced(data: bytes, side: int) -> np.ndarray | None:
    """Gray pixels (ceil(H * side / 8), ceil(W * side / 8)) uint8 for ``side`` 1 or 2.

    None for any file that is not gray, baseline, in one scan without restarts, and sound to the last bit: then the
    library must decode it or say what is wrong.
    """
    scan = read_scan(data)
    tables = None if scan is None else _tables(scan.dc, scan.ac)
    if scan is None or tables is None:
        return None
    coded = np.frombuffer(data, dtype=np.uint8)
    unstuffed = np.empty(len(data) + PADDING_BYTES, dtype=np.uint8)
    num_read, num_bytes = unstuff(coded, scan.start, unstuffed)
    unstuffed[num_bytes : num_bytes + PADDING_BYTES] = 0
    end = scan.start + num_read
    if data[end : end + 2] != END_OF_IMAGE:
        return None
    blocks_across, blocks_down = -(-scan.width // 8), -(-scan.height // 8)
    coefficients = np.zeros((blocks_across * blocks_down, NUM_KEPT), dtype=np.int32)
    if not decode_blocks(unstuffed, num_bytes, tables, coefficients):
        return None
    gray = np.empty((blocks_down * side, blocks_across * side), dtype=np.uint8)
    _draw(coefficients, np.array(scan.quantisation, dtype=np.int64), blocks_across, side, gray)
    return np.ascontiguousarray(gray[: -(-scan.height * side // 8), : -(-scan.width * side // 8)])


def read_scan(data: bytes) -> Scan | None:
    """Read the markers up to the scan; None for all but the plainest order and kinds of them."""
    position, frame, steps = 2, None, dict[int, tuple[int, int, int]]()
    codes: dict[int, bytes] = {}
    while data[position : position + 1] == b"\xff" and position + 4 <= len(data):
        kind, length = data[position + 1], struct.unpack_from(">H", data, position + 2)[0]
        body = data[position + 4 : position + 2 + length]
        position += 2 + length
        if length < 2 or position > len(data):
            return None
        if kind == HUFFMAN_TABLES:
            while len(body) > 17:
                end = 17 + sum(body[1:17])
                codes[body[0]], body = body[1:end], body[end:]
        elif kind == QUANTISATION:
            while len(body) > 64:
                wide = body[0] >> 4
                steps[body[0] & 15] = struct.unpack_from(">3H" if wide else ">3B", body, 1)
                body = body[129 if wide else 65 :]
        elif kind in START_OF_FRAME and frame is None and len(body) == 9 and (body[0], body[5]) == (8, 1):
            frame = (*struct.unpack_from(">HH", body, 1), body[6], body[8])
        elif kind == START_OF_SCAN:
            if frame is None or len(body) != 6 or (body[0], body[1]) != (1, frame[2]) or body[3:] != b"\0\x3f\0":
                return None
            dc, ac = codes.get(body[2] >> 4), codes.get(16 | body[2] & 15)
            if dc is None or ac is None or frame[3] not in steps:
                return None
            return Scan(frame[1], frame[0], steps[frame[3]], dc, ac, position)
        elif not (kind in WITHOUT_EFFECT or (kind == RESTART_INTERVAL and not any(body))):
            return None
    return None


@lru_cache(maxsize=8)
def _tables(dc: bytes, ac: bytes) -> huffman.Tables | None:
    """The lookup tables of two codes, kept, since most encoders use the same codes for every file."""
    dc_long, ac_symbols = huffman.symbol_table(dc[:16], dc[16:]), huffman.symbol_table(ac[:16], ac[16:])
    if dc_long is None or ac_symbols is None or max(dc[16:]) > huffman.MAX_DC_SIZE:
        return None
    ac_long = huffman.with_block_ends(ac_symbols)
    first, skip = huffman.first_table(ac_long), huffman.skip_table(ac_long)
    return huffman.Tables(huffman.short_table(dc_long), dc_long, huffman.short_table(ac_long), ac_long, first, skip)


@inlined_kernel
def _level(eighths: Any) -> Any:
    return min(255, max(0, ((eighths + 4) >> 3) + 128))


@inlined_kernel
def _draw(coefficients: Array, steps: Array, blocks_across: int, side: int, out: Array) -> None:
    """Turn the coefficients into pixels: an inverse cosine transform of one or two points each way."""
    for row in range(len(coefficients) // blocks_across):
        for column in range(blocks_across):
            block = np.uint64(row * blocks_across + column)
            mean = np.int64(coefficients[block, 0]) * steps[0]
            if side == 1:
                out[row, column] = _level(mean)
                continue
            across = np.int64(coefficients[block, 1]) * steps[1]
            down = np.int64(coefficients[block, 2]) * steps[2]
            top, left = np.uint64(2 * row), np.uint64(2 * column)
            out[top, left] = _level(mean + across + down)
            out[top, left + np.uint64(1)] = _level(mean - across + down)
            out[top + np.uint64(1), left] = _level(mean + across - down)
            out[top + np.uint64(1), left + np.uint64(1)] = _level(mean - across - down)
