"""Decode PNGs to 8-bit gray pixels, and refuse a file with a damaged or missing chunk.

kornia-rs decodes the usual kinds (8 and 16 bits in gray, RGB and RGBA) in half of Pillow's time; Pillow the others.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

import kornia_rs
import numpy as np
from PIL import Image
from zlib_ng import zlib_ng

from datasets.images import ImageError, ImageWarning

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KORNIA_MODES = {0: "mono", 2: "rgb", 6: "rgba"}
"""By PNG's colour type."""


@dataclass(frozen=True, kw_only=True)
class PngHeader:
    """What the chunks say before any pixel is decoded."""

    width: int
    height: int
    depth: int
    """Bits of one channel."""
    colour: int
    """PNG's colour type."""
    exif: bytes
    """Content of the eXIf chunk; empty if there is none."""


def read_header(data: bytes) -> PngHeader:
    """Walk all chunks, check each checksum, and read what the pixels are like.

    Raises:
        ImageError: if a chunk runs beyond the end, fails its checksum, the end chunk is missing, or it is animated.
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise ImageError("damaged PNG: no header chunk")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    position, view, kind, exif = len(SIGNATURE), memoryview(data), b"", b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise ImageError("truncated PNG: the end chunk is missing")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        name = kind.decode("ascii", "replace")
        if end > len(data):
            raise ImageError(f"truncated PNG: chunk {name} ends beyond the file")
        if zlib_ng.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ImageError(f"damaged PNG: chunk {name} fails its checksum")
        if kind == b"eXIf":
            exif = data[position + 8 : end - 4]
        elif kind == b"acTL":
            raise ImageError("animated PNG; a single image is expected")
        position = end
    return PngHeader(width=width, height=height, depth=depth, colour=colour, exif=exif)


def decode_png(data: bytes, header: PngHeader) -> np.ndarray:
    """Decode a PNG whose chunks are sound to gray pixels (H, W) uint8.

    1, 2 and 4 bits are spread over 0..255; of 16 bits the upper 8 are kept; of several channels (gray with alpha,
    RGB, RGBA, palette) the first is taken, as the public code of CheXclusion does: radiographs have equal channels.

    Raises:
        ImageError: if the pixels do not decode.
    """
    try:
        pixels = _decode(data, header)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (kornia-rs raises no narrower class for damaged data, Pillow several)
        raise ImageError(f"damaged PNG: its pixels do not decode ({error})") from None
    gray = pixels[:, :, 0] if pixels.ndim == 3 else pixels
    if gray.dtype == np.uint16:
        gray, values = (gray >> 8).astype(np.uint8), gray
        if gray.min() == gray.max() and values.min() < values.max():
            told = f"its 16-bit values, {values.min()} to {values.max()}, have the same upper byte: one gray value"
            warnings.warn(told, ImageWarning, stacklevel=2)
    return np.ascontiguousarray(gray)


def _decode(data: bytes, header: PngHeader) -> np.ndarray:
    """Decode to (H, W) or (H, W, C), uint8 or uint16."""
    mode = KORNIA_MODES.get(header.colour)
    if mode is not None and header.depth in (8, 16):
        decode = kornia_rs.io.decode_image_png_u8 if header.depth == 8 else kornia_rs.io.decode_image_png_u16
        return np.asarray(decode(data, (header.height, header.width), mode))
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        return np.asarray(image.convert({"1": "L", "P": "RGBA"}.get(image.mode)))
