"""Decode a PNG, JPEG or DICOM file to upright 8-bit gray pixels, or refuse it with the reason.

The content tells the format, not the file's name. The gray of a colour image is the first channel of a PNG or DICOM
and the luminance of a JPEG; a radiograph's channels are equal, so each is the gray value itself.
"""

from __future__ import annotations

import stat
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.images import ImageError, ImageWarning, dicom, jpeg, png

MAX_PIXELS = 1 << 26
"""64 Mpx; the largest radiographs (stitched spines) have about 30."""
MAX_FILE_BYTES = 1 << 29
MAX_ASPECT = 20
"""A side this many times longer than the other belongs to no radiograph."""
EXIF_ORIENTATION = 0x0112
OTHER_FORMATS = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"RIFF", "WebP"),
    (b"PK\x03\x04", "zip archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"<", "web page or XML"),
)
"""Formats that are named in the refusal, by their first bytes."""


def decode_gray(source: bytes | Path, at_least: int | None = None) -> np.ndarray:
    """Decode a PNG, JPEG or DICOM, given as bytes or path, to (H, W) uint8, with its EXIF orientation applied.

    With ``at_least`` a JPEG may be decoded at a reduced scale that keeps its shorter side at least that many pixels.

    Raises:
        ImageError: if it is absent, empty, truncated, damaged, too large, or of another format.
    """
    data = _read_file(source) if isinstance(source, Path) else source
    if not data:
        raise ImageError("empty file")
    if data.startswith(png.SIGNATURE):
        header = png.read_header(data)
        _check_extent(header.width, header.height)
        return _upright(png.decode_png(data, header), header.exif)
    if data.startswith(jpeg.SIGNATURE):
        return _upright(jpeg.decode_jpeg(data, _check_extent, at_least), jpeg.find_exif(data))
    if data.startswith(dicom.MAGIC, dicom.MAGIC_AT):
        return dicom.decode_dicom(data, _check_extent)
    if data[:2] in (b"\x02\0", b"\x08\0") and data[3:4] == b"\0":  # group and element of a first data element
        raise ImageError(
            "DICOM without its first 132 bytes; pydicom's dcmread(..., force=True) and save_as(..., "
            "enforce_file_format=True) write it whole"
        )
    unknown = f"content that starts with {data[:8].hex(' ')}"
    kind = next((name for start, name in OTHER_FORMATS if data.startswith(start)), unknown)
    raise ImageError(f"neither PNG, JPEG nor DICOM but {kind}")


def decode_with_warnings(path: Path, at_least: int | None = None) -> tuple[np.ndarray, list[str]]:
    """``decode_gray``, and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ImageWarning)
        return decode_gray(path, at_least), [str(warning.message) for warning in caught]


def is_image(path: Path) -> bool:
    """Whether a file begins as a PNG, JPEG or DICOM does, or cannot be read, which decoding it tells."""
    try:
        with path.open("rb") as file:
            start = file.read(dicom.MAGIC_AT + len(dicom.MAGIC))
    except OSError:
        return True
    return start.startswith((png.SIGNATURE, jpeg.SIGNATURE)) or start.endswith(dicom.MAGIC)


def _read_file(path: Path) -> bytes:
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


def _upright(gray: np.ndarray, exif: bytes) -> np.ndarray:
    """Apply the orientation in EXIF data: 2..4 mirror and turn by 180 degrees, 5..8 swap the sides too."""
    orientation = 1
    if exif:
        values = Image.Exif()
        with suppress(OSError, ValueError, SyntaxError):
            values.load(exif)
            orientation = values.get(EXIF_ORIENTATION, 1)
    if orientation not in range(2, 9):
        return gray
    if orientation >= 5:
        gray = gray.T
    if orientation in (3, 4, 7, 8):
        gray = gray[::-1]
    if orientation in (2, 3, 6, 7):
        gray = gray[:, ::-1]
    return np.ascontiguousarray(gray)
