"""PNG files of every colour type and depth, built chunk by chunk, so that tests know each stored value."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def scanlines(rows: np.ndarray) -> bytes:
    """Rows of stored samples, each behind the filter byte 0 (none)."""
    return b"".join(b"\0" + row.tobytes() for row in rows)


def adam7(gray: np.ndarray) -> bytes:
    return b"".join(scanlines(np.ascontiguousarray(gray[y::dy, x::dx])) for y, x, dy, dx in ADAM7)


def png(
    width: int, height: int, depth: int, colour: int, raw: bytes, *, extra: bytes = b"", interlaced: bool = False
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(height: int = 48, width: int = 40, seed: int = 0) -> np.ndarray:
    """A smooth gray picture with some noise, different for each seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = 120 + 70 * np.sin(x / 7 + seed) + 40 * np.cos(y / 9 - seed)
    return np.clip(waves + rng.normal(0, 6, waves.shape), 0, 255).astype(np.uint8)
