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
GRAY, RGB, GRAY_ALPHA, RGBA = 0, 2, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, GRAY_ALPHA: 2, RGBA: 4}
WORTH_KERNELS_PX = 1 << 16
"""Below so many pixels OpenCV is as fast, and a process need not load numba."""


class PngError(ValueError):
    """The bytes are not a whole PNG; the message says what is wrong."""


@dataclass(frozen=True, kw_only=True)
class PngHeader:
    """What the chunks say before any pixel is decoded."""

    width: int
    height: int
    depth: int
    """Bits of one channel."""
    colour: int
    """PNG's colour type."""
    plain: bool
    """Not interlaced, its pixel data in one run of chunks, and no chunk that changes what they mean."""
    has_exif: bool
    pixel_chunks: tuple[memoryview, ...]

    @property
    def bytes_per_pixel(self) -> int | None:
        """Bytes from one pixel to the next; None where pixels share a byte or stand for palette entries."""
        channels = CHANNELS.get(self.colour)
        return channels * self.depth // 8 if channels and self.depth in (8, 16) else None


def read_header(data: bytes) -> PngHeader:
    """Walk all chunks, check each checksum, and read what the pixels are like.

    Raises:
        PngError: if a chunk runs beyond the end, fails its checksum, or the end chunk is missing.
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise PngError("damaged PNG: no header chunk")
    width, height, depth, colour, *methods = struct.unpack_from(">IIBBBBB", data, 16)
    kinds: list[bytes] = []
    pixel_chunks: list[memoryview] = []
    position, view = len(SIGNATURE), memoryview(data)
    while not kinds or kinds[-1] != b"IEND":
        if position + 12 > len(data):
            raise PngError("truncated PNG: the end chunk is missing")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise PngError(f"truncated PNG: chunk {kind.decode('ascii', 'replace')} ends beyond the file")
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise PngError(f"damaged PNG: chunk {kind.decode('ascii', 'replace')} fails its checksum")
        if kind == b"IDAT":
            pixel_chunks.append(view[position + 8 : end - 4])
        if kind != b"IDAT" or kinds[-1] != b"IDAT":
            kinds.append(kind)
        position = end
    critical = [kind for kind in kinds if kind[:1].isupper()]
    return PngHeader(
        width=width,
        height=height,
        depth=depth,
        colour=colour,
        plain=methods == [0, 0, 0] and critical == [b"IHDR", b"IDAT", b"IEND"],
        has_exif=b"eXIf" in kinds,
        pixel_chunks=tuple(pixel_chunks),
    )


def decode_png(data: bytes, header: PngHeader) -> np.ndarray:
    """Gray pixels (H, W) uint8 of a PNG whose chunks are sound.

    1, 2 and 4 bits are spread over 0..255; of 16 bits the upper 8 are kept; of several channels (gray with alpha,
    RGB, RGBA, palette) the first is taken, as the public code of CheXclusion does: radiographs have equal channels.

    Raises:
        PngError: if the pixels do not decode.
    """
    if header.width * header.height >= WORTH_KERNELS_PX:
        gray = first_bytes(header)
        if gray is not None:
            return gray
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise PngError("damaged PNG: its pixels do not decode")
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3:
        pixels = pixels[:, :, RED_IN_BGR]
    return np.ascontiguousarray(pixels)


def first_bytes(header: PngHeader) -> np.ndarray | None:
    """The first byte of each pixel (H, W) uint8, twice as fast as OpenCV; None if anything is out of the ordinary."""
    step = header.bytes_per_pixel
    if not header.plain or step is None:
        return None
    from isal import igzip_lib, isal_zlib

    from datasets.images.by_hand.png_rows import unfilter

    num_bytes = header.height * (header.width * step + 1)
    inflater = isal_zlib.decompressobj()
    try:
        raw = inflater.decompress(b"".join(header.pixel_chunks), num_bytes + 1)
    except igzip_lib.IsalError:  # type: ignore[misc]  # its stub takes the class for an instance
        return None
    if len(raw) != num_bytes or not inflater.eof:
        return None
    rows = np.empty((header.height + 1, header.width), dtype=np.uint8)
    rows[0] = 0
    return rows[1:] if unfilter(np.frombuffer(raw, dtype=np.uint8), step, rows) else None


def read_exif_orientation(data: bytes) -> int:
    """The orientation 1..8 in the eXIf chunk; 1 (upright) when it cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            orientation = image.getexif().get(0x0112, 1)
    except (OSError, ValueError, SyntaxError):
        return 1
    return orientation if orientation in range(1, 9) else 1
