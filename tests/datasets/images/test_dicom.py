from __future__ import annotations

import io
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_kinds import dicom_bytes, dicom_dataset, dicom_file, lut
from hypothesis import given, settings
from hypothesis import strategies as st
from image_kinds import encode, picture
from PIL import Image
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi
from pydicom.sequence import Sequence
from pydicom.uid import (
    HTJ2K,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from datasets.images import ImageError, ImageWarning
from datasets.images.decode import decode_gray

STORED = (np.arange(48 * 40, dtype=np.uint16).reshape(48, 40) * 2) % 4096
"""12 bits, from 0 to 3,838."""


def to_bytes(levels: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(levels * 255 + 0.5), 0, 255).astype(np.uint8)


def test_without_a_window_the_smallest_and_largest_value_are_black_and_white() -> None:
    np.testing.assert_array_equal(decode_gray(dicom_file(STORED, bits=12)), to_bytes(STORED / 3838))


def test_monochrome1_is_inverted() -> None:
    inverted = decode_gray(dicom_file(STORED, bits=12, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(inverted, 255 - to_bytes(STORED / 3838))


@pytest.mark.parametrize(
    ("function", "level"),
    [
        ("LINEAR", lambda x: (x - 1999.5) / 999 + 0.5),
        ("LINEAR_EXACT", lambda x: (x - 2000) / 1000 + 0.5),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 2000) / 1000))),
    ],
)
def test_the_window_is_applied_to_rescaled_values(function: str, level) -> None:
    data = dicom_file(
        STORED,
        bits=12,
        RescaleSlope="2",
        RescaleIntercept="-100",
        WindowCenter=["2000", "50"],
        WindowWidth=["1000", "10"],
        VOILUTFunction=function,
    )
    np.testing.assert_array_equal(decode_gray(data), to_bytes(np.clip(level(STORED * 2.0 - 100), 0, 1)))


@pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")
@settings(max_examples=60, deadline=None)
@given(
    centre=st.floats(-1000, 5000),
    width=st.floats(1, 6000),
    slope=st.floats(0.1, 3),
    intercept=st.floats(-2000, 2000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    signed=st.booleans(),
)
def test_windows_agree_with_pydicoms(
    centre: float, width: float, slope: float, intercept: float, function: str, signed: bool
) -> None:
    from pydicom.pixels.processing import apply_windowing

    stored = STORED.astype(np.int16) - 2048 if signed else STORED
    numbers = {
        "RescaleSlope": f"{slope:.6g}",
        "RescaleIntercept": f"{intercept:.6g}",
        "WindowCenter": f"{centre:.6g}",
        "WindowWidth": f"{width:.6g}",
    }
    dataset = dicom_dataset(stored, bits=12, VOILUTFunction=function, **numbers)
    shown = apply_windowing(apply_modality_lut(stored, dataset), dataset)
    lowest, highest = (-2048, 2047) if signed else (0, 4095)
    low, high = (limit * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept) for limit in (lowest, highest))
    expected = (shown - low) / (high - low) * 255
    try:
        gray = decode_gray(dicom_bytes(dataset))
    except ImageError as error:
        assert "look alike" in str(error) and np.ptp(expected) <= 1.02
    else:
        assert np.abs(gray.astype(float) - expected).max() <= 0.51 and np.ptp(gray) > 0


@settings(max_examples=40, deadline=None)
@given(entries=st.lists(st.integers(0, 1023), min_size=2, max_size=200), first=st.integers(0, 3000))
def test_a_voi_lut_is_looked_up_as_pydicom_does(entries: list[int], first: int) -> None:
    dataset = dicom_dataset(STORED, bits=12, VOILUTSequence=Sequence([lut(entries, first, 10)]))
    expected = to_bytes(apply_voi(STORED.astype(np.int32), dataset) / 1023)
    if np.ptp(expected) == 0:
        with pytest.raises(ImageError, match="look alike"):
            decode_gray(dicom_bytes(dataset))
    else:
        np.testing.assert_array_equal(decode_gray(dicom_bytes(dataset)), expected)


def test_a_modality_lut_comes_before_the_window() -> None:
    entries = [value * 3 for value in range(4096)]
    data = dicom_file(
        STORED,
        bits=12,
        ModalityLUTSequence=Sequence([lut(entries, 0, 16)]),
        WindowCenter="6000",
        WindowWidth="4000",
        VOILUTFunction="LINEAR_EXACT",
    )
    np.testing.assert_array_equal(decode_gray(data), to_bytes(np.clip((STORED * 3.0 - 6000) / 4000 + 0.5, 0, 1)))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_every_depth_spreads_over_0_to_255(bits: int, signed: bool) -> None:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    kind = np.dtype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
    stored = np.linspace(low, high, 40 * 40).round().reshape(40, 40).astype(kind)
    gray = decode_gray(dicom_file(stored, bits=bits))
    np.testing.assert_array_equal(gray, to_bytes((stored.astype(float) - low) / (high - low)))


def test_bits_above_those_in_use_count_nothing() -> None:
    with_overlay = STORED | (np.indices(STORED.shape).sum(axis=0) % 2 << 15).astype(np.uint16)
    np.testing.assert_array_equal(
        decode_gray(dicom_file(with_overlay, bits=12)), decode_gray(dicom_file(STORED, bits=12))
    )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("size", "used", "high", "syntax"),
    [
        (16, 12, 15, ExplicitVRLittleEndian),
        (16, 12, 13, ExplicitVRLittleEndian),
        (16, 12, 13, RLELossless),
        (16, 8, 15, ExplicitVRLittleEndian),
        (8, 6, 7, ExplicitVRLittleEndian),
    ],
)
def test_stored_bits_end_at_the_high_bit(signed: bool, size: int, used: int, high: int, syntax: UID) -> None:
    low = -(1 << used - 1) if signed else 0
    meant = np.linspace(low, low + (1 << used) - 1, 48 * 40).round().reshape(48, 40).astype(np.int64)
    overlay = (1 << size) - (1 << high + 1) | (1 << high + 1 - used) - 1
    words = (meant << (high + 1 - used)) & ((1 << high + 1) - 1) | overlay
    stored = words.astype(f"u{size // 8}").view(f"{'i' if signed else 'u'}{size // 8}")
    dataset = dicom_dataset(stored, bits=used, HighBit=high)
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    np.testing.assert_array_equal(decode_gray(dicom_bytes(dataset)), to_bytes((meant - low) / ((1 << used) - 1)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("count", [256, 255])
@pytest.mark.parametrize("kind", ["ModalityLUTSequence", "VOILUTSequence"])
def test_lookup_entries_of_8_bits_are_packed_two_to_a_word(kind: str, count: int, order: str) -> None:
    entries = np.random.default_rng(count).permutation(256).astype(np.uint8)
    entries[count - 1] = entries[count - 1 :].max()
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [count, 0, 8])
    words = np.resize(entries[:count], 256).view("<u2").astype(f"{order}u2")
    item.add_new("LUTData", "OW", words.tobytes())
    pixels = picture()
    syntax = ExplicitVRLittleEndian if order == "<" else ExplicitVRBigEndian
    window = {"WindowCenter": "127.5", "WindowWidth": "255", "VOILUTFunction": "LINEAR_EXACT"}
    data = dicom_file(pixels, syntax=syntax, **{kind: Sequence([item])}, **(window if kind[0] == "M" else {}))
    np.testing.assert_array_equal(decode_gray(data), entries[np.minimum(pixels, count - 1)])


@pytest.mark.parametrize("sign", ["US", "SS"])
@pytest.mark.parametrize("kind", ["ModalityLUTSequence", "VOILUTSequence"])
def test_the_first_value_of_a_lookup_table_has_the_sign_of_what_it_maps(kind: str, sign: str) -> None:
    stored = STORED.astype(np.int16) - 2048
    item = Dataset()
    item.add_new("LUTDescriptor", sign, [4096, -2048 if sign == "SS" else 63488, 12])
    item.add_new("LUTData", "US", list(range(4096)))
    window = {"WindowCenter": "2047.5", "WindowWidth": "4095", "VOILUTFunction": "LINEAR_EXACT"}
    options = {kind: Sequence([item])} | (window if kind[0] == "M" else {})
    np.testing.assert_array_equal(decode_gray(dicom_file(stored, bits=12, **options)), to_bytes(STORED / 4095))


def test_the_first_value_of_a_voi_table_is_negative_where_rescaled_values_are() -> None:
    options = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
    table = Sequence([lut(list(range(4096)), 64512, 12)])
    data = dicom_file(STORED, bits=12, VOILUTSequence=table, **options)
    np.testing.assert_array_equal(decode_gray(data), to_bytes(STORED / 4095))


@pytest.mark.parametrize(
    ("centre", "width"), [("2000", "0"), ("2000", "-5"), ("2000", "0.5"), ("nan", "4"), ("3", "inf")]
)
def test_a_window_that_means_nothing_is_not_used(centre: str, width: str) -> None:
    with config.disable_value_validation():
        data = dicom_file(STORED, bits=12, WindowCenter=centre, WindowWidth=width)
    np.testing.assert_array_equal(decode_gray(data), to_bytes(STORED / 3838))


def test_a_window_beside_all_values_is_said() -> None:
    with pytest.raises(ImageError, match="window or lookup table makes all of its values look alike"):
        decode_gray(dicom_file(STORED, bits=12, WindowCenter="9000", WindowWidth="10"))


@pytest.mark.parametrize(("slope", "intercept"), [("0", "5"), ("nan", "0"), ("1", "inf")])
def test_a_rescale_that_means_nothing_is_refused(slope: str, intercept: str) -> None:
    with config.disable_value_validation():
        data = dicom_file(STORED, bits=12, RescaleSlope=slope, RescaleIntercept=intercept)
    with pytest.raises(ImageError, match="DICOM with rescale slope"):
        decode_gray(data)


@pytest.mark.parametrize("limits", [(3900, 4095), (4095, 3900)])
def test_a_range_of_padding_does_not_stretch_the_image(limits: tuple[int, int]) -> None:
    padded = STORED.copy()
    padded[0, :5] = [3900, 4000, 4095, 4094, 3901]
    gray = decode_gray(dicom_file(padded, bits=12, PixelPaddingValue=limits[0], PixelPaddingRangeLimit=limits[1]))
    assert gray[STORED == 3838] == 255


def test_padding_of_signed_values_does_not_stretch_the_image() -> None:
    stored = STORED.astype(np.int16)
    stored[0, :5] = -2000
    gray = decode_gray(dicom_file(stored, PixelPaddingValue=-2000))
    np.testing.assert_array_equal(gray[1:], to_bytes((STORED[1:] - 10.0) / 3828))


@pytest.mark.parametrize("meaning", ["MONOCHROME1", "MONOCHROME2"])
def test_an_inverse_presentation_is_inverted_once(meaning: str) -> None:
    data = dicom_file(STORED, bits=12, PhotometricInterpretation=meaning, PresentationLUTShape="INVERSE")
    np.testing.assert_array_equal(decode_gray(data), 255 - to_bytes(STORED / 3838))


def test_padding_does_not_stretch_the_image() -> None:
    padded = np.where(STORED < 100, 0, STORED).astype(np.uint16)
    padded[0, 0] = 4095
    gray = decode_gray(dicom_file(padded, bits=12, PixelPaddingValue=4095))
    assert gray[STORED == 3838] == 255


def test_a_constant_image_is_black_and_no_error() -> None:
    assert (decode_gray(dicom_file(np.full((40, 40), 7, np.uint16))) == 0).all()


def test_colour_gives_its_red() -> None:
    rgb = np.dstack([picture(seed=seed) for seed in range(3)])
    np.testing.assert_array_equal(decode_gray(dicom_file(rgb)), rgb[:, :, 0])


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_syntaxes(syntax: UID) -> None:
    np.testing.assert_array_equal(decode_gray(dicom_file(STORED, syntax=syntax)), to_bytes(STORED / 3838))


def test_big_endian() -> None:
    data = dicom_file(STORED, syntax=ExplicitVRBigEndian, PixelData=STORED.astype(">u2").tobytes())
    np.testing.assert_array_equal(decode_gray(data), to_bytes(STORED / 3838))


def test_run_length_coding() -> None:
    dataset = dicom_dataset(STORED, bits=12)
    dataset.compress(RLELossless)
    np.testing.assert_array_equal(decode_gray(dicom_bytes(dataset)), to_bytes(STORED / 3838))


def encapsulated(stored: np.ndarray, syntax: UID, frame: bytes, **options: object) -> bytes:
    dataset = dicom_dataset(stored, syntax=syntax, **options)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dicom_bytes(dataset)


WINDOW_8 = {"WindowCenter": "127.5", "WindowWidth": "255", "VOILUTFunction": "LINEAR_EXACT"}


def test_jpeg_2000() -> None:
    frame = encode(Image.fromarray(STORED), "JPEG2000", irreversible=False, no_jp2=True)
    data = encapsulated(STORED, JPEG2000Lossless, frame)
    np.testing.assert_array_equal(decode_gray(data), to_bytes(STORED / 3838))


def test_jpeg_baseline_is_decoded_as_a_jpeg_file_is() -> None:
    frame = encode(Image.fromarray(picture()), "JPEG", quality=95)
    data = encapsulated(picture(), JPEGBaseline8Bit, frame, **WINDOW_8)
    np.testing.assert_array_equal(decode_gray(data), decode_gray(frame))
    damaged = encapsulated(picture(), JPEGBaseline8Bit, frame[: len(frame) // 2], **WINDOW_8)
    with pytest.raises(ImageError, match=r"damaged DICOM: .*[Pp]remature end"):
        decode_gray(damaged)


@pytest.mark.parametrize(
    ("syntax", "package"),
    [(JPEGLosslessSV1, "pylibjpeg-libjpeg"), (JPEGLSLossless, "pylibjpeg-libjpeg"), (HTJ2K, "pylibjpeg-openjpeg")],
)
def test_a_syntax_that_needs_another_package_names_it_and_the_extra(
    syntax: UID, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = get_decoder(syntax)
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(decoder, "_unavailable", {"pylibjpeg": ("pylibjpeg>=2.0", f"{package}>=2.1")})
    extra = r"pip install 'cxr-harness\[dicom\]'$"
    with pytest.raises(ImageError, match=f"{syntax.name.split(',')[0]}.*needs .*{package}.*{extra}"):
        decode_gray(encapsulated(STORED, syntax, b"\xff\xd8\xff\xd9"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"NumberOfFrames": 3}, "DICOM of 3 frames; one is expected"),
        ({"PhotometricInterpretation": "HSV"}, "DICOM whose pixels are HSV"),
        ({"BitsAllocated": 32}, "32 bits a value"),
        ({"Rows": 1000, "Columns": 2}, "2 x 1000 pixels; one side is over 20 times"),
        ({"Rows": 60000, "Columns": 60000}, "at most"),
        ({"Rows": 0}, "40 x 0 pixels"),
        ({"Rows": 49}, "damaged DICOM"),
        ({"BitsStored": 17}, "damaged DICOM"),
        ({"VOILUTSequence": Sequence([lut([1, 2], 0, 99)])}, "lookup table"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(options: dict, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode_gray(dicom_file(STORED, **options))


def test_a_syntax_of_films_is_refused() -> None:
    with pytest.raises(ImageError, match=r"MPEG2.*which pydicom does not decode"):
        decode_gray(encapsulated(STORED, UID("1.2.840.10008.1.2.4.100"), b"film"))


def test_a_dicom_without_pixels_is_refused() -> None:
    dataset = dicom_dataset(STORED)
    del dataset.PixelData
    with pytest.raises(ImageError, match="DICOM without pixels"):
        decode_gray(dicom_bytes(dataset))


WHOLE = dicom_file(STORED, bits=12)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, len(WHOLE) - 1))
def test_a_file_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(ImageError):
        decode_gray(WHOLE[:length])


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 700), change=st.integers(1, 255))
def test_any_byte_changed_is_decoded_or_refused(position: int, change: int) -> None:
    data = bytearray(WHOLE)
    data[position] ^= change
    try:
        gray = decode_gray(bytes(data))
    except ImageError:
        return
    assert gray.dtype == np.uint8 and gray.ndim == 2


def test_without_pydicom_the_reason_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['pydicom'] = None\n"
        "from datasets.images.decode import decode_gray\n"
        "decode_gray(bytes(128) + b'DICM' + bytes(100))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip().endswith("DICOM, which needs pydicom: pip install 'cxr-harness[dicom]'")


def test_a_dicom_without_preamble_or_transfer_syntax_is_named() -> None:
    with pytest.raises(ImageError, match=r"DICOM without its first 132 bytes; .*force=True"):
        decode_gray(WHOLE[132:])
    dataset = dicom_dataset(STORED)
    del dataset.file_meta.TransferSyntaxUID
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    with pytest.raises(ImageError, match=r"does not say in which transfer syntax .*\(0002,0010\)"):
        decode_gray(bytes(128) + b"DICM" + buffer.getvalue().removeprefix(bytes(128) + b"DICM"))


@pytest.mark.parametrize("name", ["Rows", "Columns", "BitsStored", "PixelRepresentation"])
def test_an_element_that_is_missing_or_no_number_is_named(name: str) -> None:
    dataset = dicom_dataset(STORED)
    setattr(dataset, name, [1, 2])
    with pytest.raises(ImageError, match=rf"damaged DICOM: {name} is \[1, 2\]; expected a whole number"):
        decode_gray(dicom_bytes(dataset))
    delattr(dataset, name)
    with pytest.raises(ImageError, match=f"damaged DICOM: {name} is None"):
        decode_gray(dicom_bytes(dataset))


def test_a_jpeg_that_pillow_does_not_decode_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = bytearray(encode(Image.fromarray(picture()), "JPEG"))
    frame[frame.index(b"\xff\xc0") + 4] = 12
    for syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        decoder = get_decoder(syntax)
        monkeypatch.setattr(decoder, "_available", {"pillow": None})
        monkeypatch.setattr(decoder, "_unavailable", {"pylibjpeg": ("pylibjpeg>=2.0", "pylibjpeg-libjpeg>=2.1")})
        told = r"DICOM with a JPEG of 12 bits, .*needs pylibjpeg.*pip install 'cxr-harness\[dicom\]'$"
        with pytest.raises(ImageError, match=told):
            decode_gray(encapsulated(picture(), syntax, bytes(frame)))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"VOILUTSequence": Sequence([lut([0, 2000, 4000], 0, 8)])}, "VOI LUT of 8 bits whose entries reach 4000"),
        ({"bits": 10}, "stored values beyond its 10 bits"),
    ],
)
def test_what_may_not_look_as_meant_is_warned_of(options: dict, told: str) -> None:
    with pytest.warns(ImageWarning, match=told):
        decode_gray(dicom_file(STORED, **options))


def test_signs_and_overlays_above_the_stored_bits_are_no_reason_to_warn() -> None:
    signed = (STORED.astype(np.int16) - 2000).clip(-2048, 2047)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode_gray(dicom_file(signed, bits=12))
        overlaid = dicom_dataset(STORED | 0x8000, bits=12)
        overlaid.add_new(0x60000102, "US", 15)
        decode_gray(dicom_bytes(overlaid))


def hostile() -> dict[str, bytes]:
    frame = bytearray(encode(Image.fromarray(picture()), "JPEG"))
    start = frame.index(b"\xff\xc0") + 5
    frame[start : start + 4] = b"\xfd\xe8\xfd\xe8"  # 65,000 x 65,000 pixels
    head = dicom_file(STORED, syntax=DeflatedExplicitVRLittleEndian)
    start = 144 + int.from_bytes(head[140:144], "little")
    packer = zlib.compressobj(wbits=-15)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(2000)) + packer.flush()
    return {
        "coded pixels of shape": encapsulated(picture(), JPEGBaseline8Bit, bytes(frame)),
        "inflates to more than": head[:start] + bomb,
    }


@pytest.mark.parametrize("reason", ["coded pixels of shape", "inflates to more than"])
def test_a_small_file_that_claims_gigabytes_is_refused_before_it_is_decoded(reason: str, tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(hostile()[reason])
    code = (
        "import resource, sys; from pathlib import Path; from datasets.images.decode import decode_gray\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "decode_gray(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.dcm")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert reason in done.stderr.splitlines()[-1]
