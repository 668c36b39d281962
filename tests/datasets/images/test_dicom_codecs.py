"""Compressed DICOM files: every transfer syntax of the datasets, encoded and decoded by GDCM, decoded by ours."""

from __future__ import annotations

import io
from pathlib import Path

import gdcm
import numpy as np
import pytest
from dicom_kinds import dicom_bytes, dicom_dataset
from fuzzed_child import fuzzed
from image_kinds import picture
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from datasets.images import ImageError
from datasets.images.decode import decode_gray

LOSSLESS = (JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless)
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000)
GRAY = picture(60, 44)
WIDE = (GRAY.astype(np.uint16) << 4) | (np.arange(GRAY.size, dtype=np.uint16).reshape(GRAY.shape) & 15)
STORED = {
    "8 bits": (GRAY, 8),
    "12 of 16 bits": (WIDE, 12),
    "16 bits": (WIDE * 16, 16),
    "signed": (WIDE.astype(np.int16) - 2048, 16),
}


def read_by_gdcm(path: Path) -> gdcm.ImageReader:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    return reader


def in_syntax(reader: gdcm.ImageReader, syntax: UID) -> gdcm.ImageChangeTransferSyntax:
    """The image in another syntax, as ``GetOutput()``, which lives no longer than what is returned and the reader."""
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    return change


def decoded_by_gdcm(path: Path, like: np.ndarray) -> np.ndarray:
    reader = read_by_gdcm(path)
    change = in_syntax(reader, ExplicitVRLittleEndian)
    pixels = change.GetOutput().GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(pixels, like.dtype).reshape(like.shape)


def encoded(folder: Path, stored: np.ndarray, bits: int, syntax: UID) -> Path:
    """A file in a transfer syntax, whose window spans all of its values."""
    window = {"WindowCenter": f"{float(stored.mean()):.1f}", "WindowWidth": str(int(np.ptp(stored)) + 1)}
    plain, packed = folder / "plain.dcm", folder / "packed.dcm"
    plain.write_bytes(dicom_bytes(dicom_dataset(stored, bits=bits, **window)))
    reader, writer = read_by_gdcm(plain), gdcm.ImageWriter()
    writer.SetFileName(str(packed))
    writer.SetFile(reader.GetFile())
    change = in_syntax(reader, syntax)
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert dcmread(packed).file_meta.TransferSyntaxUID == syntax
    return packed


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_lossless_syntaxes_give_the_pixels_of_the_plain_file(tmp_path: Path, syntax: UID, kind: str) -> None:
    packed = encoded(tmp_path, *STORED[kind], syntax)
    np.testing.assert_array_equal(decode_gray(packed), decode_gray(tmp_path / "plain.dcm"))
    np.testing.assert_array_equal(decoded_by_gdcm(packed, STORED[kind][0]), STORED[kind][0])


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda syntax: syntax.keyword)
def test_lossy_syntaxes_are_decoded_as_by_gdcm(tmp_path: Path, syntax: UID) -> None:
    packed = encoded(tmp_path, GRAY, 8, syntax)
    plain = dicom_dataset(decoded_by_gdcm(packed, GRAY))
    for name in ("WindowCenter", "WindowWidth"):
        setattr(plain, name, getattr(dcmread(packed), name))
    ours, theirs = decode_gray(packed).astype(int), decode_gray(dicom_bytes(plain)).astype(int)
    assert np.abs(ours - theirs).max() <= 2
    assert np.abs(ours - decode_gray(tmp_path / "plain.dcm")).max() <= 24


def test_jpeg_extended_of_12_bits_is_decoded_as_by_gdcm() -> None:
    path = Path(str(get_testdata_file("JPGExtended.dcm")))
    dataset = dcmread(path)
    assert (dataset.file_meta.TransferSyntaxUID, dataset.BitsStored) == (JPEGExtended12Bit, 12)
    theirs = decoded_by_gdcm(path, np.empty((dataset.Rows, dataset.Columns), np.uint16))
    assert theirs.max() > 255
    plain = dicom_dataset(theirs, bits=12)
    for name in ("WindowCenter", "WindowWidth", "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept"):
        if name in dataset:
            setattr(plain, name, getattr(dataset, name))
    assert np.abs(decode_gray(path).astype(int) - decode_gray(dicom_bytes(plain))).max() <= 2


@pytest.mark.parametrize("syntax", (*LOSSLESS, *LOSSY), ids=lambda syntax: syntax.keyword)
def test_coded_pixels_that_end_early_are_refused(tmp_path: Path, syntax: UID) -> None:
    dataset = dcmread(encoded(tmp_path, GRAY, 8, syntax))
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    for share in (0.3, 0.6, 0.95):
        with pytest.raises(ImageError, match="damaged DICOM"):
            decode_gray(with_frame(dataset, frame[: int(len(frame) * share)]))


def with_frame(dataset, frame: bytes) -> bytes:
    dataset.PixelData = encapsulate([frame])
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_damaged_bytes_end_in_pixels_or_an_image_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with fuzzed(decode_gray, (ImageError,)) as feed:
        for syntax in (*LOSSLESS, *LOSSY):
            dataset = dcmread(encoded(tmp_path, GRAY, 8, syntax))
            frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
            for _ in range(40):
                damaged = bytearray(frame)
                for place in rng.integers(0, len(frame), 3):
                    damaged[place] = rng.integers(256)
                feed(with_frame(dataset, bytes(damaged)))
