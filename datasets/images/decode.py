"""An image file comes in, 8-bit gray pixels go out, upright and whole; anything else is refused with its reason.

PNG, JPEG and DICOM are told apart by their content, never by the file's name. Colour: the first channel of a PNG or
DICOM, the luminance of a JPEG; all are the gray value itself on a radiograph, whose channels are equal.
"""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np

from datasets.errors import InputError
from datasets.images import dicom, jpeg, png

MAX_PIXELS = 1 << 26
"""64 Mpx; the largest radiographs (stitched spines) have about 30."""
MAX_FILE_BYTES = 1 << 29
MAX_ASPECT = 20
"""A side this many times longer than the other belongs to no radiograph."""
KNOWN_CONTENT = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"RIFF", "WebP"),
    (b"PK\x03\x04", "zip archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"<", "web page or XML"),
)


class ImageError(InputError):
    """An image that cannot be used; the message is the reason, without the file's name."""


def decode_gray(source: bytes | Path, at_least: int | None = None) -> np.ndarray:
    """Pixels (H, W) uint8 of a PNG, JPEG or DICOM, given as bytes or as a path; its EXIF orientation is applied.

    With ``at_least`` a JPEG may come out reduced, its shorter side still so many pixels or more.

    Raises:
        ImageError: if it is absent, empty, truncated, damaged, too large, or none of the three.
    """
    data = read_file(source) if isinstance(source, Path) else source
    if not data:
        raise ImageError("empty file")
    try:
        if data.startswith(png.SIGNATURE):
            header = png.read_header(data)
            _check_extent(header.width, header.height)
            gray = png.decode_png(data, header)
            orientation = png.read_exif_orientation(data) if header.has_exif else 1
        elif data.startswith(b"\xff\xd8\xff"):
            gray = jpeg.decode_jpeg(data, _check_extent, at_least)
            orientation = jpeg.read_exif_orientation(data)
        elif data.startswith(dicom.MAGIC, dicom.MAGIC_AT):
            return dicom.decode_dicom(data, _check_extent)
        else:
            raise ImageError(f"neither PNG, JPEG nor DICOM but {_describe(data)}")
    except (png.PngError, dicom.DicomError) as error:
        raise ImageError(str(error)) from None
    except jpeg.JpegError as error:
        raise ImageError(f"damaged JPEG: {error}") from None
    return _upright(gray, orientation)


def read_file(path: Path) -> bytes:
    """All bytes of an image file.

    Raises:
        ImageError: if it is absent, not readable, or larger than any radiograph.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not a file")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(f"file of {status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from None


def _check_extent(width: int, height: int) -> None:
    if width == 0 or height == 0:
        raise ImageError(f"{width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels; at most {MAX_PIXELS:,} are decoded")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(f"{width} x {height} pixels; one side is over {MAX_ASPECT} times the other")


def _describe(data: bytes) -> str:
    for start, name in KNOWN_CONTENT:
        if data.startswith(start):
            return name
    return f"content that starts with {data[:8].hex(' ')}"


def _upright(gray: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the EXIF orientation: 2..4 mirror and turn by 180 degrees, 5..8 swap the sides too."""
    if orientation == 1:
        return gray
    if orientation >= 5:
        gray = gray.T
    if orientation in (3, 4, 7, 8):
        gray = gray[::-1]
    if orientation in (2, 3, 6, 7):
        gray = gray[:, ::-1]
    return np.ascontiguousarray(gray)
