"""Decode and encode gray JPEGs with libjpeg-turbo, through simplejpeg, and refuse damaged data.

Pillow and OpenCV fill in what a damaged file lacks; simplejpeg's strict mode raises on every warning of libjpeg.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from datasets.images import ImageError

SIGNATURE = b"\xff\xd8\xff"
HARMLESS = re.compile(
    "unknown JFIF revision|Unknown Adobe color transform|Invalid SOS parameters|: [12] extraneous bytes before marker"
)
"""Warnings after which every pixel is still what the file says; more than a filling byte or two is left behind where
damage made the decoder run ahead."""
MAX_SCANS = 500
"""Every scan of a progressive JPEG is a pass over all pixels; about ten are usual."""
APP1, PROGRESSIVE, START_OF_SCAN, END_OF_IMAGE = 0xE1, 0xC2, 0xDA, 0xD9
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers of the segment that holds the size."""
DECODED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
KINDS = {0xC3: "lossless JPEG", 0xF7: "JPEG-LS"}
WITHOUT_BODY = {0x01, *range(0xD0, 0xD8)}


def decode_jpeg(
    data: bytes,
    check_extent: Callable[[int, int], None] = lambda width, height: None,
    at_least: int | None = None,
) -> np.ndarray:
    """Decode to gray pixels (H, W) uint8: the stored luminance; of CMYK the red channel after conversion to RGB.

    ``check_extent`` is called with width and height before memory is taken for the pixels, and may raise. With
    ``at_least`` libjpeg decodes to a half, a quarter or an eighth of the size if the shorter side stays that long.

    Raises:
        ImageError: if the data ends early or does not decode cleanly.
    """
    frame = read_frame(data)
    if not frame.is_decoded:
        raise ImageError(f"{frame.kind}, which is not read here; save it as PNG, for example with pip's imagecodecs")
    height, width, colorspace, _ = _strictly(simplejpeg.decode_jpeg_header, data)
    check_extent(width, height)
    if frame.marker == PROGRESSIVE and data.count(bytes([0xFF, START_OF_SCAN])) > MAX_SCANS:
        raise ImageError(f"JPEG of more than {MAX_SCANS} scans")
    if colorspace in ("CMYK", "YCCK"):
        return _decode_cmyk(data)
    options = {}
    eighths = [n for n in (1, 2, 4) if at_least is not None and min(width, height) * n >= at_least * 8]
    if eighths:
        options = {"min_height": -(-height * eighths[0] // 8), "min_width": -(-width * eighths[0] // 8)}
    gray: np.ndarray = _strictly(simplejpeg.decode_jpeg, data, colorspace="GRAY", **options)[:, :, 0]
    return gray


class Frame(NamedTuple):
    """What a JPEG's frame header says."""

    marker: int
    bits: int
    height: int
    width: int

    @property
    def is_decoded(self) -> bool:
        """Whether libjpeg-turbo decodes this kind to 8 bits."""
        return self.marker in DECODED and self.bits == 8

    @property
    def kind(self) -> str:
        return f"{KINDS.get(self.marker, 'JPEG')} of {self.bits} bits"


def read_frame(data: bytes) -> Frame:
    """Read the frame header of any kind of JPEG, JPEG-LS included.

    Raises:
        ImageError: if there is none.
    """
    for kind, _, body in _segments(data):
        if kind in FRAMES and len(body) >= 5:
            return Frame(kind, *struct.unpack_from(">BHH", body))
    raise ImageError("0 x 0 pixels: a JPEG without a frame header")


def decode_page(data: Any, page: np.ndarray) -> None:
    """Decode a JPEG (any bytes-like object) into ``page``, C-contiguous (H, W) uint8; releases the GIL.

    Raises:
        ImageError: if the JPEG is damaged or of another size.
    """
    pixels = None
    try:
        pixels = simplejpeg.decode_jpeg(data, colorspace="GRAY", buffer=page)
    except ValueError:  # damaged, larger than the page, or with a harmless warning
        pixels = decode_jpeg(bytes(data))
        if pixels.shape == page.shape:
            page[:] = pixels
    if pixels.shape[:2] != page.shape:
        raise ImageError(f"its size is {pixels.shape[1]} x {pixels.shape[0]}")


def encode_page(gray: np.ndarray, quality: int | None) -> bytes:
    """Encode pixels (S, S) uint8 as a gray baseline JPEG, or as they are when ``quality`` is None.

    Raises:
        RuntimeError: if what the encoder wrote does not decode.
    """
    if quality is None:
        return gray.tobytes()
    data: bytes = simplejpeg.encode_jpeg(gray[:, :, None], quality, "GRAY", "Gray")
    try:
        decode_page(data, np.empty_like(gray))
    except ImageError as error:
        raise RuntimeError(f"encoding a page of {gray.shape[1]} x {gray.shape[0]} pixels failed: {error}") from error
    return data


def find_exif(data: bytes) -> bytes:
    """The EXIF data of a JPEG; empty if it has none."""
    found = (body for kind, _, body in _segments(data) if kind == APP1 and body.startswith(b"Exif\0\0"))
    return next(found, b"")


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield marker, position and body of each segment up to the header of the first scan."""
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        kind = data[position + 1]
        if kind == END_OF_IMAGE:
            return
        if kind in (0x00, 0xFF) or kind in WITHOUT_BODY:
            position += 1 if kind == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        yield kind, position, data[position + 4 : position + 2 + length]
        if kind == START_OF_SCAN:
            return
        position += 2 + length


def _strictly(function: Callable[..., Any], data: bytes, **options: Any) -> Any:
    """Call a function of simplejpeg, which raises on every warning of libjpeg; try again after a harmless one."""
    reason = ""
    for mend, strict in ((False, True), (True, True), (True, False)):
        try:
            return function(_mend_header(data) if mend else data, strict=strict, **options)
        except ValueError as error:
            reason = str(error)
        if not HARMLESS.search(reason):
            break
    reason = re.sub(r"^tj\w+\(\): ", "", reason)
    raise ImageError(reason if reason.startswith("Unsupported JPEG") else f"damaged JPEG: {reason}")


def _mend_header(data: bytes) -> bytes:
    """The JPEG with a revision and colour transform that libjpeg knows, and no bytes between its segments."""
    mended = data[:2]
    for kind, position, body in _segments(data):
        if kind == START_OF_SCAN:
            return mended + data[position:]
        if body.startswith(b"JFIF\0"):
            body = body[:5] + b"\1" + body[6:]
        elif body.startswith(b"Adobe") and len(body) == 12 and body[11] > 2:
            body = body[:11] + b"\1"
        mended += struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body
    return data


def _decode_cmyk(data: bytes) -> np.ndarray:
    """Convert with Pillow, which knows Adobe's inverted inks, once simplejpeg has found the data whole."""
    _strictly(simplejpeg.decode_jpeg, data, colorspace="CMYK")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return np.asarray(image.convert("RGB").getchannel(0))
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"damaged JPEG: {error}") from None
