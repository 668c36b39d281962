"""JPEG bytes come in, 8-bit gray pixels go out; damaged data is refused, where most decoders fill it in silently.

libjpeg-turbo is called directly because it reports the warnings (premature end, bad Huffman code) that OpenCV and
Pillow swallow. The library is there wherever FFCV runs, since FFCV's own extension is linked against it.
"""

from __future__ import annotations

import ctypes
import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache

import numpy as np

PIXEL_GRAY = 6
COLORSPACES_CMYK = (3, 4)
LIMIT_SCANS = 32768
ERROR_WARNING = 0
HARMLESS = re.compile(
    "unknown JFIF revision|Unknown Adobe color transform|Invalid SOS parameters|: [12] extraneous bytes before marker"
)
"""Warnings after which every pixel is still what the file says; more than a filling byte or two is left behind where
damage made the decoder run ahead."""


class JpegError(ValueError):
    """The bytes are not a whole JPEG; the message is the library's reason."""


@cache
def _library() -> ctypes.CDLL:
    for name in ("libturbojpeg.so.0", "libturbojpeg.so", "libturbojpeg.dylib"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.tjInitDecompress.restype = ctypes.c_void_p
        library.tjGetErrorStr2.restype = ctypes.c_char_p
        library.tjGetErrorStr2.argtypes = [ctypes.c_void_p]
        library.tjGetErrorCode.argtypes = [ctypes.c_void_p]
        library.tjDestroy.argtypes = [ctypes.c_void_p]
        pointers = [ctypes.POINTER(ctypes.c_int)] * 4
        library.tjDecompressHeader3.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulong, *pointers]
        library.tjDecompress2.argtypes = [
            *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p),
            *(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int),
        ]
        return library
    raise ImportError("libturbojpeg is missing; install it (Debian, Ubuntu: apt-get install libturbojpeg0)")


class _Decompressor(AbstractContextManager["_Decompressor"]):
    """One decompressor for one image: after damaged data its tables would spoil the next."""

    def __init__(self) -> None:
        self.library = _library()
        self.handle = self.library.tjInitDecompress()
        if not self.handle:
            raise MemoryError("libturbojpeg could not make a decompressor")

    def __exit__(self, *exc: object) -> None:
        self.library.tjDestroy(self.handle)

    def check(self, status: int) -> None:
        """Raise JpegError for a failed call, unless every pixel is still what the file says."""
        if status == 0:
            return
        reason = self.library.tjGetErrorStr2(self.handle).decode("ascii", "replace")
        warning = self.library.tjGetErrorCode(self.handle) == ERROR_WARNING
        if not (warning and HARMLESS.search(reason)):
            raise JpegError(reason)

    def read_header(self, data: bytes) -> tuple[int, int, int]:
        width, height, subsampling, colorspace = (ctypes.c_int() for _ in range(4))
        parts = (ctypes.byref(part) for part in (width, height, subsampling, colorspace))
        self.check(self.library.tjDecompressHeader3(self.handle, data, len(data), *parts))
        return width.value, height.value, colorspace.value


def decode_jpeg(
    data: bytes,
    check_extent: Callable[[int, int], None] = lambda width, height: None,
    at_least: int | None = None,
) -> np.ndarray:
    """Gray pixels (H, W) uint8: the stored luminance; of CMYK the red channel after conversion to RGB.

    ``check_extent`` gets width and height before any memory is taken for the pixels, and may raise. With ``at_least``
    the pixels come at a half, a quarter or an eighth of the size if their shorter side is still so long.

    Raises:
        JpegError: if the data ends early or does not decode cleanly.
    """
    with _Decompressor() as decompressor:
        width, height, colorspace = decompressor.read_header(data)
        check_extent(width, height)
        if colorspace in COLORSPACES_CMYK:
            return _decode_cmyk(data)
        eighths = _smallest_eighths(min(width, height), at_least)
        if eighths <= 2:
            from datasets.images.by_hand.reduced_jpeg import decode_reduced

            reduced = decode_reduced(data, eighths)
            if reduced is not None:
                return reduced
        width, height = -(-width * eighths // 8), -(-height * eighths // 8)
        gray = np.empty((height, width), dtype=np.uint8)
        arguments = (gray.ctypes.data, width, width, height, PIXEL_GRAY, LIMIT_SCANS)
        decompressor.check(decompressor.library.tjDecompress2(decompressor.handle, data, len(data), *arguments))
    return gray


def _smallest_eighths(shorter: int, at_least: int | None) -> int:
    """The smallest power of two, up to 8, such that so many eighths of ``shorter`` are still ``at_least``."""
    return next((n for n in (1, 2, 4) if at_least is not None and shorter * n >= at_least * 8), 8)


def _decode_cmyk(data: bytes) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return np.asarray(image.convert("RGB").getchannel(0))
    except (OSError, ValueError, SyntaxError) as error:
        raise JpegError(str(error)) from None


def read_exif_orientation(data: bytes) -> int:
    """The EXIF orientation 1..8; 1 (upright) when there is none or it cannot be read."""
    if b"Exif\x00\x00" not in data[: 1 << 17]:
        return 1
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            orientation = image.getexif().get(0x0112, 1)
    except (OSError, ValueError, SyntaxError):
        return 1
    return orientation if orientation in range(1, 9) else 1
