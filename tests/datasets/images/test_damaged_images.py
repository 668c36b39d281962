"""Damaged image files: pixels or an ImageError, never a signal, a hang, a traceback or a gigabyte of memory."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pydicom.config
import pytest
from dicom_kinds import dicom_bytes, dicom_dataset, lut
from fuzzed_child import Feed, damaged, fuzzed
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from image_kinds import GRAY, PALETTE, RGB, RGBA, adam7, chunk, encode, picture, png, scanlines
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from datasets.images import ImageError
from datasets.images.decode import decode_gray

GRAY_PIXELS = picture()
EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
SIGNATURE = 8


def pngs() -> list[bytes]:
    rows, (height, width) = scanlines(GRAY_PIXELS), GRAY_PIXELS.shape
    colours, alpha = np.dstack([GRAY_PIXELS] * 3), np.dstack([GRAY_PIXELS] * 4)
    return [
        png(width, height, 8, GRAY, rows),
        png(width, height, 8, GRAY, adam7(GRAY_PIXELS), interlaced=True),
        png(width, height, 16, GRAY, scanlines(GRAY_PIXELS.astype(">u2"))),
        png(width, height, 8, RGB, scanlines(colours)),
        png(width, height, 8, RGBA, scanlines(alpha)),
        png(width, height, 8, PALETTE, rows, extra=chunk(b"PLTE", bytes(range(256)) * 3)),
    ]


def jpegs() -> list[bytes]:
    gray = Image.fromarray(GRAY_PIXELS)
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encode(gray, "JPEG", exif=exif),
        encode(gray, "JPEG", progressive=True),
        encode(gray.convert("RGB"), "JPEG", subsampling=2),
        encode(gray.convert("CMYK"), "JPEG"),
        encode(gray, "JPEG", restart_marker_blocks=2),
    ]


def dicoms() -> list[bytes]:
    stored = GRAY_PIXELS.astype(np.uint16) * 16
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    return [
        dicom_bytes(dataset)
        for dataset in (
            dicom_dataset(stored, bits=12, **window),
            dicom_dataset(stored.astype(np.int16), RescaleSlope=2, RescaleIntercept=-1024, **window),
            dicom_dataset(stored, VOILUTSequence=Sequence([lut(list(range(256)), 0, 8)])),
            dicom_dataset(GRAY_PIXELS, syntax=ImplicitVRLittleEndian),
            dicom_dataset(stored, syntax=DeflatedExplicitVRLittleEndian),
        )
    ]


def with_right_sums(data: bytes) -> bytes:
    """The PNG with every chunk's check sum made right again, so that damage reaches what lies behind it."""
    mended, at = data[:SIGNATURE], SIGNATURE
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            break
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        mended += struct.pack(">I", length) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        at += 12 + length
    return mended + data[at:]


@pytest.fixture(scope="module")
def decode() -> Iterator[Feed]:
    with fuzzed(decode_gray, (ImageError,)) as feed:
        yield feed


@EXAMPLES
@given(data=damaged(pngs()), mend=st.booleans())
def test_png(decode: Feed, data: bytes, mend: bool) -> None:
    decode(with_right_sums(data) if mend else data)


@EXAMPLES
@given(data=damaged(jpegs()))
def test_jpeg(decode: Feed, data: bytes) -> None:
    decode(data)


@EXAMPLES
@given(data=damaged(dicoms()))
def test_dicom(decode: Feed, data: bytes) -> None:
    decode(data)


ODD = st.sampled_from((0, 1, 2, 7, 8, 9, 12, 15, 16, 17, 31, 32, 64, 255, 4096, 65535))
REAL = st.sampled_from(("0", "1", "-1", "1e-300", "1e300", "NaN", "inf", "", "2000", "-32768"))
ELEMENTS = {
    **dict.fromkeys(("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"), ODD),
    **dict.fromkeys(("SamplesPerPixel", "PlanarConfiguration", "PixelPaddingValue", "PixelPaddingRangeLimit"), ODD),
    **dict.fromkeys(("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"), REAL),
    "NumberOfFrames": st.sampled_from(("0", "1", "2", "-1", "2147483647")),
    "PhotometricInterpretation": st.sampled_from(
        ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR", "", "X" * 16)
    ),
    "PresentationLUTShape": st.sampled_from(("IDENTITY", "INVERSE", "")),
    "VOILUTFunction": st.sampled_from(("LINEAR", "LINEAR_EXACT", "SIGMOID", "", "OTHER")),
    "PixelData": st.binary(max_size=64),
}


def _with_elements(elements: dict[str, object], descriptor: list[int] | None) -> bytes:
    dataset = dicom_dataset(GRAY_PIXELS.astype(np.uint16) * 16, bits=12)
    for name, value in elements.items():
        setattr(dataset, name, value)
    if descriptor is not None:
        item = Dataset()
        item.add_new("LUTDescriptor", "US", descriptor)
        item.add_new("LUTData", "OW", bytes(range(256)))
        dataset.ModalityLUTSequence = Sequence([item])
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@EXAMPLES
@given(
    elements=st.fixed_dictionaries({}, optional=ELEMENTS),
    descriptor=st.none() | st.lists(ODD, min_size=3, max_size=3),
)
@pytest.mark.filterwarnings("ignore")
def test_dicom_of_odd_elements(
    decode: Feed, elements: dict[str, object], descriptor: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    try:
        data = _with_elements(elements, descriptor)
    except (ValueError, TypeError, OSError):  # a number that its field does not hold
        assume(False)
    decode(data)
