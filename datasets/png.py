"""PNG bytes come in, 8-bit gray pixels go out; a file with a damaged or missing chunk is refused."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RED_IN_BGR = 2


class PngError(ValueError):
    """The bytes are not a whole PNG; the message says what is wrong."""


@dataclass(frozen=True)
class PngHeader:
    """What the chunks say before any pixel is decoded."""

    width: int
    height: int
    has_exif: bool


def read_header(data: bytes) -> PngHeader:
    """Walk all chunks, check each checksum, and read width and height.

    Raises:
        PngError: if a chunk runs beyond the end, fails its checksum, or the end chunk is missing.
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise PngError("damaged PNG: no header chunk")
    width, height = struct.unpack_from(">II", data, 16)
    position, has_exif, view = len(SIGNATURE), False, memoryview(data)
    while True:
        if position + 12 > len(data):
            raise PngError("truncated PNG: the end chunk is missing")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise PngError(f"truncated PNG: chunk {kind.decode('ascii', 'replace')} ends beyond the file")
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise PngError(f"damaged PNG: chunk {kind.decode('ascii', 'replace')} fails its checksum")
        if kind == b"IEND":
            return PngHeader(width, height, has_exif)
        has_exif |= kind == b"eXIf"
        position = end


def decode_png(data: bytes) -> np.ndarray:
    """Gray pixels (H, W) uint8 of a PNG whose chunks are sound.

    1, 2 and 4 bits are spread over 0..255; of 16 bits the upper 8 are kept; of several channels (gray with alpha,
    RGB, RGBA, palette) the first is taken, as the public code of CheXclusion does: radiographs have equal channels.

    Raises:
        PngError: if the pixels do not decode.
    """
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise PngError("damaged PNG: its pixels do not decode")
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3:
        pixels = pixels[:, :, RED_IN_BGR]
    return np.ascontiguousarray(pixels)


def read_exif_orientation(data: bytes) -> int:
    """The orientation 1..8 in the eXIf chunk; 1 (upright) when it cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            orientation = image.getexif().get(0x0112, 1)
    except (OSError, ValueError, SyntaxError):
        return 1
    return orientation if orientation in range(1, 9) else 1
