"""Decode DICOM images to 8-bit gray pixels as a viewer shows them: rescaled, windowed, MONOCHROME1 inverted.

pydicom reads the stored values. What is done to a value depends on it alone, so it is computed once for each value of
the pixels' type, and the pixels are looked up. pydicom's ``apply_modality_lut`` and ``apply_voi_lut`` are not used:
they misread packed 8-bit entries and the sign of a table's first value (PS3.3 C.11.1.1.1 and C.11.2.1.1).
"""

from __future__ import annotations

import io
import logging
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.images import ImageError
from datasets.images.jpeg import decode_jpeg

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAGIC, MAGIC_AT = b"DICM", 128
MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
WORDS = (8, 16)
"""Bits that a stored value may take up."""
DAMAGE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    *(struct.error, zlib.error, AssertionError),
)
"""What pydicom and its decoders raise on damaged data; there is no one exception for it."""


def decode_dicom(data: bytes, check_extent: Callable[[int, int], None] = lambda width, height: None) -> np.ndarray:
    """Decode to gray pixels (H, W) uint8.

    Stored values go through the rescale slope and intercept (or the modality LUT), then through the first VOI window
    or LUT to 0..255; without a usable one, the image's own smallest and largest value become 0 and 255, its padding
    left aside. MONOCHROME1, where small means bright, is inverted. Of colour images the red channel is taken, as of a
    PNG. ``check_extent`` is called with width and height before memory is taken for the pixels, and may raise.

    Raises:
        ImageError: if pydicom is not installed, the data is damaged, there is not exactly one image that the
            installed packages can decode, or its window makes all of its values look alike.
    """
    try:
        from pydicom import dcmread
    except ImportError:
        raise ImageError("DICOM, which needs pydicom: pip install 'cxr-harness[dicom]'") from None
    with _explained():
        dataset = dcmread(io.BytesIO(data))
        _check(dataset)
        extent = int(dataset.Columns), int(dataset.Rows)
    check_extent(*extent)
    with _explained():
        stored = _read_stored(dataset)
        gray = dataset.PhotometricInterpretation in MONOCHROME
        return _show(dataset, stored) if gray else _first_channel(dataset, stored)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what pydicom raises on damaged data into an ImageError of one line, and silence its warnings and log."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (ImageError, MemoryError):
            raise
        except (*DAMAGE, BytesLengthException, InvalidDicomError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ImageError(f"damaged DICOM: {reason or type(error).__name__}") from None


def _check(dataset: Dataset) -> None:
    """Refuse what is no single gray or colour image of whole words in a syntax that can be decoded here."""
    if "PixelData" not in dataset:
        raise ImageError("DICOM without pixels")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError(f"DICOM of {frames} frames; one is expected")
    meaning = str(dataset.PhotometricInterpretation)
    if meaning not in (*MONOCHROME, *COLOUR, "PALETTE COLOR"):
        raise ImageError(f"DICOM whose pixels are {meaning}")
    if dataset.BitsAllocated not in WORDS:
        raise ImageError(f"DICOM with {dataset.BitsAllocated} bits a value; 8 and 16 are read")
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ImageError(f"DICOM in the transfer syntax {syntax.name}, which pydicom does not decode") from None
    if not decoder.is_available:
        wanted = " or ".join(need.split(" - requires ")[-1] for need in decoder.missing_dependencies)
        raise ImageError(f"DICOM in the transfer syntax {syntax.name}, which needs {wanted}: pip install it")


def _read_stored(dataset: Dataset) -> np.ndarray:
    """Stored values (H, W) or (H, W, 3), as signed or unsigned integers of 8 or 16 bits."""
    from pydicom.encaps import get_frame
    from pydicom.uid import JPEGBaseline8Bit, RLELossless

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == JPEGBaseline8Bit and dataset.SamplesPerPixel == 1:
        try:
            stored = decode_jpeg(get_frame(dataset.PixelData, 0, number_of_frames=1))
        except ImageError as error:
            raise ImageError(f"damaged DICOM: {error}") from None
        stored = stored.view(np.int8) if dataset.PixelRepresentation == 1 else stored
    elif syntax.is_encapsulated and syntax != RLELossless:
        stored = dataset.pixel_array
    else:
        dataset.pixel_array_options(correct_unused_bits=False)
        stored = _used_bits(dataset, dataset.pixel_array)
    expected = (dataset.Rows, dataset.Columns)
    if stored.shape[:2] != expected or stored.dtype.itemsize * 8 not in WORDS:
        raise ImageError(f"damaged DICOM: pixels of shape {stored.shape}, not {expected}")
    return np.ascontiguousarray(stored.astype(stored.dtype.newbyteorder("="), copy=False))


def _used_bits(dataset: Dataset, words: np.ndarray) -> np.ndarray:
    """The values of words whose used bits end at HighBit (PS3.5 8.1.1); bits beside them may hold overlays."""
    size, used = words.dtype.itemsize * 8, int(dataset.BitsStored)
    end = max(int(dataset.get("HighBit") or 0) + 1, used)
    if not 1 <= used <= end <= size:
        raise ImageError(f"damaged DICOM: {used} bits stored up to bit {end - 1} of {size}")
    values: np.ndarray = (words << (size - end)) >> (size - used)
    return values


def _first_channel(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    bits = int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        stored = apply_color_lut(stored, dataset)
        bits = stored.dtype.itemsize * 8
    return np.ascontiguousarray(stored[..., 0] >> max(0, bits - 8)).astype(np.uint8)


def _show(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Map stored values (H, W) to the gray that is shown of them (H, W) uint8."""
    codes = stored.view(f"u{stored.dtype.itemsize}")
    every = np.arange(1 << stored.dtype.itemsize * 8).astype(codes.dtype).view(stored.dtype).astype(np.int64)
    present = np.bincount(codes.ravel(), minlength=len(every)) > 0
    present &= ~_is_padding(dataset, every)
    values = _rescale(dataset, every)
    levels = _window(dataset, values)
    if levels is None:
        levels = _stretch(values, present)
    shades = np.clip(np.floor(levels * 255.0 + 0.5), 0, 255).astype(np.uint8)
    if len(np.unique(shades[present])) == 1 < len(np.unique(values[present])):
        raise ImageError("DICOM whose window or lookup table makes all of its values look alike")
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        shades = 255 - shades
    gray: np.ndarray = shades[codes]
    return gray


def _is_padding(dataset: Dataset, every: np.ndarray) -> np.ndarray:
    """Which stored values lie between PixelPaddingValue and PixelPaddingRangeLimit, both included."""
    ends = [dataset.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    # Either may have been written with the sign of the other representation; a table's place tells what is meant.
    known = [int(every[end % len(every)]) for end in ends if isinstance(end, int)]
    if not isinstance(ends[0], int):
        return np.zeros(len(every), dtype=bool)
    return np.asarray((every >= min(known)) & (every <= max(known)))


def _rescale(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Map stored values to the modality's own, float64."""
    if dataset.get("ModalityLUTSequence"):
        entries, first, _ = _read_lut(dataset, dataset.ModalityLUTSequence[0], signed=stored.min() < 0)
        return np.asarray(entries[np.clip(stored - first, 0, len(entries) - 1)], dtype=np.float64)
    slope, intercept = _first_number(dataset, "RescaleSlope", 1.0), _first_number(dataset, "RescaleIntercept", 0.0)
    if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        raise ImageError(f"DICOM with rescale slope {slope:g} and intercept {intercept:g}")
    return np.asarray(stored * slope + intercept)


def _window(dataset: Dataset, values: np.ndarray) -> np.ndarray | None:
    """Map the modality's values to 0..1 by the first VOI LUT or window; None if there is none of use."""
    if dataset.get("VOILUTSequence"):
        entries, first, bits = _read_lut(dataset, dataset.VOILUTSequence[0], signed=values.min() < 0)
        places = np.clip(np.floor(values) - first, 0, len(entries) - 1).astype(np.int64)
        return np.asarray(entries[places] / ((1 << bits) - 1))
    centre, width = (_first_number(dataset, name, math.nan) for name in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if not (math.isfinite(centre) and math.isfinite(width) and width > 0) or (function == "LINEAR" and width < 1):
        return None
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -700.0, 700.0))))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1.0
    if width == 0:
        return np.asarray(values > centre, dtype=np.float64)
    return np.asarray(np.clip((values - centre) / width + 0.5, 0.0, 1.0))


def _stretch(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Map the smallest and largest of the values that are present to 0 and 1."""
    if not present.any():
        return np.zeros(len(values))
    low, high = values[present].min(), values[present].max()
    return np.asarray(np.clip((values - low) / (high - low or 1.0), 0.0, 1.0))


def _read_lut(dataset: Dataset, item: Dataset, *, signed: bool) -> tuple[np.ndarray, int, int]:
    """Entries, the value that the first one is for, and the bits of an entry.

    ``signed``: whether the first value, stored in 16 bits without a sign, is negative from 32,768 on.
    """
    count, first, bits = (int(value) for value in item.LUTDescriptor)
    count = count or 1 << 16
    if isinstance(item.LUTData, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        entries = np.frombuffer(item.LUTData, dtype=f"{order}u2").astype("<u2")
    else:
        entries = np.atleast_1d(np.asarray(item.LUTData, dtype="<u2"))
    if bits == 8 and len(entries) == -(-count // 2) < count:
        entries = entries.view(np.uint8)  # two entries packed into each word, the first in its lower byte
    entries = entries[:count].astype(np.int64)
    if not len(entries) or not 1 <= bits <= 16:
        raise ImageError("damaged DICOM: a lookup table without entries")
    return entries, first - (1 << 16) if signed and first >= 1 << 15 else first, bits


def _first_number(dataset: Dataset, name: str, absent: float) -> float:
    """The first of one or several numbers; a DICOM lists one window for each way of looking at the image."""
    value: Any = dataset.get(name)
    if value is None or value == "":
        return absent
    if isinstance(value, str | int | float):
        return float(value)
    return float(value[0]) if len(value) else absent
