"""Decode DICOM images to 8-bit gray pixels as a viewer shows them: rescaled, windowed, MONOCHROME1 inverted.

pydicom reads the stored values, compressed ones through pylibjpeg's plugins where they are installed. What is done to
a value depends on it alone, so it is computed once for each value of the pixels' type, and the pixels are looked up.
pydicom's ``apply_modality_lut`` and ``apply_voi_lut`` are not used: they misread packed 8-bit entries and the sign of
a table's first value (PS3.3 C.11.1.1.1 and C.11.2.1.1).
"""

from __future__ import annotations

import io
import logging
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.images import ImageError, ImageWarning
from datasets.images.jpeg import decode_jpeg, read_frame

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.pixels.decoders.base import Decoder

MAGIC, MAGIC_AT = b"DICM", 128
MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
OVERLAY_BIT = 0x60000102
WORDS = (8, 16)
"""Bits that a stored value may take up."""
NUMBERS = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
"""Elements without which pixels mean nothing."""
DEFLATED = b"1.2.840.10008.1.2.1.99"
PLUGINS = ("pydicom", "pylibjpeg", "pyjpegls", "pillow", "gdcm")
"""pydicom's decoders of compressed pixels: the first that knows a syntax decodes it, alone. pylibjpeg's decoder of
RLE, which pydicom decodes itself, panics on damaged data, and GDCM returns pixels of what it cannot decode."""
J2K_SIZE = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 image, whose extent follows."""
END_OF_JPEG = b"\xff\xd9"
ROWS_AT_ONCE = 64
MAX_INFLATED_BYTES = 1 << 28
"""Twice what the most pixels of 16 bits take up."""
DAMAGE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    *(struct.error, zlib.error, AssertionError),
)
"""What pydicom and its decoders raise on damaged data; there is no one exception for it."""


def decode_dicom(data: bytes, check_extent: Callable[[int, int], None] = lambda width, height: None) -> np.ndarray:
    """Decode to gray pixels (H, W) uint8.

    Stored values go through the rescale slope and intercept (or the modality LUT), then through the first VOI window
    or LUT to 0..255; without a usable one, the image's own smallest and largest value become 0 and 255, its padding
    left aside. Of colour images the red channel is taken. ``check_extent`` is called with width and height before
    memory is taken for the pixels, and may raise.

    Raises:
        ImageError: if pydicom is not installed, the data is damaged, there is not exactly one image that the
            installed packages can decode, or its window makes all of its values look alike.
    """
    try:
        from pydicom import dcmread
    except ImportError:
        raise ImageError("DICOM, which needs pydicom: pip install 'cxr-harness[dicom]'") from None
    with _explained():
        if DEFLATED in data[:4096]:
            _check_inflated(data)
        dataset = dcmread(io.BytesIO(data))
        _check(dataset)
        check_extent(dataset.Columns, dataset.Rows)
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
        warnings.simplefilter("always", ImageWarning)
        try:
            yield
        except (ImageError, MemoryError):
            raise
        except (*DAMAGE, BytesLengthException, InvalidDicomError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ImageError(f"damaged DICOM: {reason or type(error).__name__}") from None


def _check_inflated(data: bytes) -> None:
    """Refuse a deflated DICOM that becomes far larger than any image, before pydicom inflates it."""
    from pydicom.filereader import read_dataset

    stream = io.BytesIO(data)
    stream.seek(MAGIC_AT + len(MAGIC))
    read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    inflater, packed, total = zlib.decompressobj(-zlib.MAX_WBITS), stream.read(), 0
    while packed and not inflater.eof:
        total += len(inflater.decompress(packed, 1 << 20))
        packed = inflater.unconsumed_tail
        if total > MAX_INFLATED_BYTES:
            raise ImageError(f"deflated DICOM that inflates to more than {MAX_INFLATED_BYTES:,} bytes")


def _check(dataset: Dataset) -> None:
    """Refuse what is no single gray or colour image of whole words in a syntax that can be decoded here."""
    if "PixelData" not in dataset:
        raise ImageError("DICOM without pixels")
    if "TransferSyntaxUID" not in dataset.file_meta:
        raise ImageError("DICOM that does not say in which transfer syntax its pixels are (0002,0010)")
    for name in NUMBERS:
        if not isinstance(dataset.get(name), int):
            raise ImageError(f"damaged DICOM: {name} is {dataset.get(name)!r}; expected a whole number")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError(f"DICOM of {frames} frames; one is expected")
    meaning = str(dataset.get("PhotometricInterpretation"))
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
        raise ImageError(f"DICOM in the transfer syntax {syntax.name}, which {_needs(decoder)}")


def _needs(decoder: Decoder) -> str:
    needs = (need.split(" - requires ")[-1] for need in decoder.missing_dependencies)
    return f"needs {', or '.join(needs)}: pip install 'cxr-harness[dicom]'"


def _read_stored(dataset: Dataset) -> np.ndarray:
    """Stored values (H, W) or (H, W, 3), as signed or unsigned integers of 8 or 16 bits."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import RLELossless

    syntax, expected = dataset.file_meta.TransferSyntaxUID, (dataset.Rows, dataset.Columns)
    available = get_decoder(syntax).available_plugins
    plugin = next((name for name in PLUGINS if name in available), "")
    coded = syntax.is_encapsulated and syntax != RLELossless
    dataset.pixel_array_options(decoding_plugin=plugin, correct_unused_bits=coded)
    if coded:
        stored = _decode_coded(dataset, get_frame(dataset.PixelData, 0, number_of_frames=1))
    else:
        stored = _used_bits(dataset, dataset.pixel_array)
    if stored.shape[:2] != expected or stored.dtype.itemsize * 8 not in WORDS:
        raise ImageError(f"damaged DICOM: pixels of shape {stored.shape}, not {expected}")
    return np.ascontiguousarray(stored.astype(stored.dtype.newbyteorder("="), copy=False))


def _decode_coded(dataset: Dataset, coded: bytes) -> np.ndarray:
    """Decode a compressed image after a look at its own extent: decoders fill that, whatever Rows and Columns say."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import JPEG2000TransferSyntaxes, JPEGBaseline8Bit

    syntax, frame = dataset.file_meta.TransferSyntaxUID, None
    if syntax in JPEG2000TransferSyntaxes:
        right, bottom, left, top = struct.unpack_from(">4I", coded, coded.index(J2K_SIZE) + 8)
        extent = (bottom - top, right - left)
    else:
        frame = read_frame(coded)
        extent = (frame.height, frame.width)
        if END_OF_JPEG not in coded.rstrip(b"\0")[-4:]:  # decoders fill up what is missing
            raise ImageError("damaged DICOM: coded pixels that end early (premature end of a JPEG)")
    if extent != (dataset.Rows, dataset.Columns):
        raise ImageError(f"damaged DICOM: coded pixels of shape {extent}, not {(dataset.Rows, dataset.Columns)}")
    decoder = get_decoder(syntax)
    if frame and not frame.is_decoded and decoder.available_plugins == ("pillow",):
        raise ImageError(f"DICOM with a {frame.kind}, which {_needs(decoder)}")
    if syntax == JPEGBaseline8Bit and dataset.SamplesPerPixel == 1 and frame and frame.is_decoded:
        try:
            stored = decode_jpeg(coded)
        except ImageError as error:
            raise ImageError(f"damaged DICOM: {error}") from None
        return stored.view(np.int8) if dataset.PixelRepresentation == 1 else stored
    return np.asarray(dataset.pixel_array)


def _used_bits(dataset: Dataset, words: np.ndarray) -> np.ndarray:
    """The values of words whose used bits end at HighBit (PS3.5 8.1.1); bits beside them may hold overlays."""
    size, used = words.dtype.itemsize * 8, dataset.BitsStored
    end = max(int(dataset.get("HighBit") or 0) + 1, used)
    if not 1 <= used <= end <= size:
        raise ImageError(f"damaged DICOM: {used} bits stored up to bit {end - 1} of {size}")
    values: np.ndarray = (words << (size - end)) >> (size - used)
    codes = words.view(f"u{words.dtype.itemsize}")
    beyond = OVERLAY_BIT not in dataset and end < size and codes.max() >> end
    # Above a negative value there may be copies of its sign.
    if beyond and np.any((codes >> end != 0) & (values != words >> (end - used))):
        warnings.warn(f"DICOM with stored values beyond its {used} bits: cut off", ImageWarning, stacklevel=2)
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
    # A few rows at a time, since numpy makes eight bytes of each value that it looks up.
    blocks = [codes[first : first + ROWS_AT_ONCE] for first in range(0, len(codes), ROWS_AT_ONCE)]
    present = sum(np.bincount(block.ravel(), minlength=len(every)) for block in blocks) > 0
    present &= ~_is_padding(dataset, every)
    values = _rescale(dataset, every)
    levels = _window(dataset, values)
    if levels is None:
        low, high = (values[present].min(), values[present].max()) if present.any() else (values.max(), values.max())
        levels = np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)
    shades = np.clip(np.floor(levels * 255.0 + 0.5), 0, 255).astype(np.uint8)
    if len(np.unique(shades[present])) == 1 < len(np.unique(values[present])):
        raise ImageError("DICOM whose window or lookup table makes all of its values look alike")
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        shades = 255 - shades
    return np.concatenate([shades[block] for block in blocks])


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
        if entries.max() >= 1 << bits:
            told = f"DICOM with a VOI LUT of {bits} bits whose entries reach {entries.max()}: shown white"
            warnings.warn(told, ImageWarning, stacklevel=2)
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
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) else None
    return absent if value is None or value == "" else float(value)
