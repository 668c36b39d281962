"""DICOM bytes come in, 8-bit gray pixels as a reader would see them go out: rescaled, windowed, MONOCHROME1 inverted.

Everything that happens to a stored value depends on that value alone, so it is computed once for each value that the
pixels' type can hold, and the pixels are looked up.
"""

from __future__ import annotations

import io
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
    """Gray pixels (H, W) uint8.

    Stored values go through the rescale slope and intercept (or the modality LUT), then through the first VOI window
    or LUT to 0..255; without one, the image's own smallest and largest value become 0 and 255. MONOCHROME1, where
    small means bright, is inverted. Of colour images the red channel is taken, as of a PNG. ``check_extent`` gets
    width and height before any memory is taken for the pixels, and may raise.

    Raises:
        ImageError: if pydicom is not installed, the data is damaged, or there is not exactly one image that the
            installed packages can decode.
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
    """Turn whatever damaged data makes pydicom raise into one line, and keep its warnings to ourselves."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except ImageError:
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
    """Stored values (H, W) or (H, W, 3), as 8 or 16 bits."""
    from pydicom.encaps import get_frame
    from pydicom.uid import JPEGBaseline8Bit

    if dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit and dataset.SamplesPerPixel == 1:
        try:
            stored = decode_jpeg(get_frame(dataset.PixelData, 0, number_of_frames=1))
        except ImageError as error:
            raise ImageError(f"damaged DICOM: {error}") from None
    else:
        stored = dataset.pixel_array
    expected = (dataset.Rows, dataset.Columns)
    if stored.shape[:2] != expected or stored.dtype.itemsize * 8 not in WORDS:
        raise ImageError(f"damaged DICOM: pixels of shape {stored.shape}, not {expected}")
    return np.ascontiguousarray(stored.astype(stored.dtype.newbyteorder("="), copy=False))


def _first_channel(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    bits = int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        stored = apply_color_lut(stored, dataset)
        bits = stored.dtype.itemsize * 8
    return np.ascontiguousarray(stored[..., 0] >> max(0, bits - 8)).astype(np.uint8)


def _show(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """From stored values (H, W) to the gray that is shown of them (H, W) uint8."""
    word = np.dtype(f"u{stored.dtype.itemsize}")
    codes = stored.view(word)
    values = _rescale(dataset, _stored_values(dataset, word))
    levels = _window(dataset, values)
    if levels is None:
        levels = _stretch(dataset, values, np.bincount(codes.ravel(), minlength=len(values)) > 0)
    shades = np.clip(np.floor(levels * 255.0 + 0.5), 0, 255).astype(np.uint8)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shades = 255 - shades
    gray: np.ndarray = shades[codes]
    return gray


def _stored_values(dataset: Dataset, word: np.dtype) -> np.ndarray:
    """The number that each pattern of bits stands for; bits above those in use may hold overlays and are ignored."""
    size, used = word.itemsize * 8, int(dataset.BitsStored)
    if not 1 <= used <= size:
        raise ImageError(f"damaged DICOM: {used} bits stored in {size}")
    values = np.arange(1 << size, dtype=np.int64) & ((1 << used) - 1)
    if dataset.PixelRepresentation == 1:
        values -= (values >> (used - 1)) << used
    return values


def _rescale(dataset: Dataset, values: np.ndarray) -> np.ndarray:
    """From stored values to the modality's own, float64."""
    if dataset.get("ModalityLUTSequence"):
        entries, first, _ = _read_lut(dataset, dataset.ModalityLUTSequence[0])
        return np.asarray(entries[np.clip(values - first, 0, len(entries) - 1)], dtype=np.float64)
    slope, intercept = _first_number(dataset.get("RescaleSlope")), _first_number(dataset.get("RescaleIntercept"))
    return np.asarray(values * (1.0 if slope is None else slope) + (intercept or 0.0))


def _window(dataset: Dataset, values: np.ndarray) -> np.ndarray | None:
    """From the modality's values to 0..1 by the first VOI LUT or window; None if there is none of use."""
    if dataset.get("VOILUTSequence"):
        entries, first, bits = _read_lut(dataset, dataset.VOILUTSequence[0])
        places = np.clip(np.floor(values) - first, 0, len(entries) - 1).astype(np.int64)
        return np.asarray(entries[places] / ((1 << bits) - 1))
    centre, width = (_first_number(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -700.0, 700.0))))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1.0
    if width <= 0:
        return np.asarray(values > centre, dtype=np.float64)
    return np.asarray(np.clip((values - centre) / width + 0.5, 0.0, 1.0))


def _stretch(dataset: Dataset, values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """From the modality's values to 0..1, the smallest and largest of the image; its padding is left aside."""
    padding = dataset.get("PixelPaddingValue")
    if isinstance(padding, int):
        present[padding % len(values)] = False
    if not present.any():
        return np.zeros(len(values))
    low, high = values[present].min(), values[present].max()
    return np.asarray(np.clip((values - low) / max(high - low, 1e-6), 0.0, 1.0))


def _read_lut(dataset: Dataset, item: Dataset) -> tuple[np.ndarray, int, int]:
    """Entries, the value that the first one is for, and the bits of an entry."""
    count, first, bits = (int(value) for value in item.LUTDescriptor)
    if isinstance(item.LUTData, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        entries = np.frombuffer(item.LUTData, dtype=f"{order}u2")
    else:
        entries = np.atleast_1d(np.asarray(item.LUTData, dtype=np.int64))
    entries = entries[: count or 1 << 16].astype(np.int64)
    if not len(entries) or not 1 <= bits <= 16:
        raise ImageError("damaged DICOM: a lookup table without entries")
    return entries, first, bits


def _first_number(value: Any) -> float | None:
    """The first of one or several numbers; a DICOM lists one window for each way of looking at the image."""
    if value is None or value == "":
        return None
    if isinstance(value, str | int | float):
        return float(value)
    return float(value[0]) if len(value) else None
