from __future__ import annotations

import io
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_kinds import GRAY, GRAY_ALPHA, PALETTE, RGB, RGBA, adam7, chunk, encode, picture, png, scanlines
from PIL import Image, ImageOps

from datasets.images import ImageError
from datasets.images.decode import decode_gray
from datasets.images.resize import fit

GRAY8 = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
PALETTE_RGB = np.arange(48, dtype=np.uint8)[::-1].reshape(16, 3)


def png_kinds() -> list[tuple[str, bytes, np.ndarray]]:
    """Name, file, and the pixels that must come out."""
    bits = np.indices((8, 8)).sum(axis=0) % 2
    gray16 = (np.arange(64) * 1000).reshape(8, 8).astype(">u2")
    rgb, rgba = np.arange(192).reshape(8, 8, 3), np.arange(256).reshape(8, 8, 4)
    gray_alpha, codes = np.arange(128).reshape(8, 8, 2), (GRAY8 % 16).astype(np.uint8)
    palette = chunk(b"PLTE", PALETTE_RGB.tobytes())
    transparent = chunk(b"tRNS", bytes(range(16)))
    fours = codes[:, ::2] << 4 | codes[:, 1::2]

    def u8(values: np.ndarray) -> np.ndarray:
        return values.astype(np.uint8)

    def u16(values: np.ndarray) -> bytes:
        return scanlines((values * 256 + 5).astype(">u2"))

    return [
        ("gray", png(8, 8, 8, GRAY, scanlines(GRAY8)), GRAY8),
        ("gray interlaced", png(8, 8, 8, GRAY, adam7(GRAY8), interlaced=True), GRAY8),
        ("gray transparent", png(8, 8, 8, GRAY, scanlines(GRAY8), extra=chunk(b"tRNS", b"\0\3")), GRAY8),
        ("gray with gamma", png(8, 8, 8, GRAY, scanlines(GRAY8), extra=chunk(b"gAMA", b"\0\0\xb1\x8f")), GRAY8),
        ("1 bit", png(8, 8, 1, GRAY, scanlines(np.packbits(bits, axis=1))), u8(bits * 255)),
        (
            "2 bit",
            png(8, 8, 2, GRAY, scanlines(np.full((8, 2), 0b00011011, "u1"))),
            u8(np.tile([0, 85, 170, 255], (8, 2))),
        ),
        ("4 bit", png(8, 8, 4, GRAY, scanlines(fours)), u8(codes * 17)),
        ("16 bit", png(8, 8, 16, GRAY, scanlines(gray16)), u8(gray16 >> 8)),
        ("gray and alpha", png(8, 8, 8, GRAY_ALPHA, scanlines(u8(gray_alpha))), u8(gray_alpha[:, :, 0])),
        ("gray and alpha 16", png(8, 8, 16, GRAY_ALPHA, u16(gray_alpha)), u8(gray_alpha[:, :, 0])),
        ("RGB", png(8, 8, 8, RGB, scanlines(u8(rgb))), u8(rgb[:, :, 0])),
        ("RGB 16", png(8, 8, 16, RGB, u16(rgb)), u8(rgb[:, :, 0])),
        ("RGBA", png(8, 8, 8, RGBA, scanlines(u8(rgba))), u8(rgba[:, :, 0])),
        ("RGBA 16", png(8, 8, 16, RGBA, u16(rgba)), u8(rgba[:, :, 0])),
        ("palette", png(8, 8, 8, PALETTE, scanlines(codes), extra=palette), PALETTE_RGB[codes, 0]),
        ("palette 4 bit", png(8, 8, 4, PALETTE, scanlines(fours), extra=palette), PALETTE_RGB[codes, 0]),
        (
            "palette transparent",
            png(8, 8, 8, PALETTE, scanlines(codes), extra=palette + transparent),
            PALETTE_RGB[codes, 0],
        ),
    ]


@pytest.mark.parametrize(("data", "expected"), [pytest.param(d, e, id=n) for n, d, e in png_kinds()])
def test_every_kind_of_png_decodes_to_its_exact_values(data: bytes, expected: np.ndarray) -> None:
    gray = decode_gray(data)
    assert gray.dtype == np.uint8
    assert gray.flags.c_contiguous
    np.testing.assert_array_equal(gray, expected)


@pytest.mark.parametrize("progressive", [False, True])
def test_gray_jpeg_decodes_as_pillow_does(progressive: bool) -> None:
    data = encode(Image.fromarray(picture()), "JPEG", quality=90, progressive=progressive)
    np.testing.assert_array_equal(decode_gray(data), np.asarray(Image.open(io.BytesIO(data))))


def test_rgb_jpeg_gives_its_luminance() -> None:
    channels = [picture(seed=seed) for seed in range(3)]
    data = encode(Image.fromarray(np.dstack(channels)), "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", image.size)
        expected = np.asarray(image)
    np.testing.assert_array_equal(decode_gray(data), expected)


def test_radiograph_with_equal_channels_gives_its_gray() -> None:
    gray = Image.fromarray(picture())
    as_rgb = encode(Image.merge("RGB", [gray] * 3), "JPEG", quality=95)
    np.testing.assert_array_equal(decode_gray(as_rgb), decode_gray(encode(gray, "JPEG", quality=95)))
    np.testing.assert_array_equal(decode_gray(encode(Image.merge("RGB", [gray] * 3), "PNG")), picture())


def test_cmyk_jpeg_gives_the_red_of_its_rgb() -> None:
    channels = [picture(seed=seed) for seed in range(4)]
    data = encode(Image.fromarray(np.dstack(channels), "CMYK"), "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[:, :, 0]
    np.testing.assert_array_equal(decode_gray(data), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(picture()), kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(decode_gray(data), expected)


def test_content_decides_not_the_name(tmp_path) -> None:
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encode(Image.fromarray(picture()), "PNG"))
    np.testing.assert_array_equal(decode_gray(path), picture())


PNG_FILE = encode(Image.fromarray(picture()), "PNG")
JPEG_FILE = encode(Image.fromarray(picture(256, 256)), "JPEG", quality=95)
PROGRESSIVE_FILE = encode(Image.fromarray(picture(256, 256)), "JPEG", quality=95, progressive=True)


@pytest.mark.parametrize("data", [PNG_FILE, JPEG_FILE, PROGRESSIVE_FILE], ids=["png", "jpeg", "progressive"])
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_file_cut_anywhere_is_refused(data: bytes, draw: st.DataObject) -> None:
    length = draw.draw(st.integers(0, len(data) - 1))
    with pytest.raises(ImageError):
        decode_gray(data[:length])


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, len(PNG_FILE) - 1), change=st.integers(1, 255))
def test_a_png_with_any_byte_changed_is_refused(position: int, change: int) -> None:
    data = bytearray(PNG_FILE)
    data[position] ^= change
    with pytest.raises(ImageError):
        decode_gray(bytes(data))


def test_a_jpeg_whose_middle_is_overwritten_is_refused() -> None:
    middle = len(JPEG_FILE) // 2
    data = JPEG_FILE[:middle] + b"\xff\xd0" + bytes(200) + JPEG_FILE[middle + 202 :]
    with pytest.raises(ImageError, match="damaged JPEG"):
        decode_gray(data)


def test_damaged_jpegs_do_not_spoil_the_next() -> None:
    expected = np.asarray(Image.open(io.BytesIO(JPEG_FILE)))
    for length in range(2, len(JPEG_FILE), len(JPEG_FILE) // 50):
        with pytest.raises(ImageError):
            decode_gray(JPEG_FILE[:length])
        np.testing.assert_array_equal(decode_gray(JPEG_FILE), expected)


def test_bytes_after_the_end_do_no_harm() -> None:
    np.testing.assert_array_equal(decode_gray(PNG_FILE + b"\0" * 64), picture())
    np.testing.assert_array_equal(decode_gray(JPEG_FILE + b"\0" * 64), decode_gray(JPEG_FILE))


def too_large_jpeg() -> bytes:
    start = JPEG_FILE.index(b"\xff\xc0") + 5
    return JPEG_FILE[:start] + struct.pack(">HH", 65000, 65000) + JPEG_FILE[start + 4 :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"not an image", "neither PNG, JPEG nor DICOM but content that starts with 6e 6f"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"GIF89a...", "GIF"),
        (b"PK\x03\x04...", "zip archive"),
        (b"\0" * 128 + b"DICM", "DICOM without pixels"),
        (b"\xff\xd8\xff\xd9", "0 x 0 pixels"),
        (b"\x89PNG\r\n\x1a\n", "no header chunk"),
        (png(8, 8, 8, GRAY, scanlines(GRAY8)[:40]), "pixels do not decode"),
        (png(100_000, 100_000, 8, GRAY, b""), "100000 x 100000 pixels; at most"),
        (too_large_jpeg(), "65000 x 65000 pixels; at most"),
        (png(0, 8, 8, GRAY, b""), "0 x 8 pixels"),
        (png(1000, 2, 8, GRAY, bytes(2002)), "over 20 times"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode_gray(data)


def test_paths_that_are_no_readable_file_are_refused(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="no such file"):
        decode_gray(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="not a file"):
        decode_gray(tmp_path)
    with pytest.raises(ImageError, match="not a file"):
        decode_gray(tmp_path / "pipe.png")


@settings(max_examples=40, deadline=None)
@given(height=st.integers(20, 300), width=st.integers(20, 300), size=st.sampled_from([32, 64, 96, 224]))
def test_shorter_equals_torchvisions_resize_and_centre_crop(height: int, width: int, size: int) -> None:
    from torchvision.transforms import v2

    gray = picture(height, width)
    reference = v2.Compose([v2.Resize(size), v2.CenterCrop(size)])
    np.testing.assert_array_equal(fit(gray, size), np.asarray(reference(Image.fromarray(gray))))


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(400, 1100),
    width=st.integers(400, 1100),
    size=st.sampled_from([32, 96, 224, 256]),
    resize=st.sampled_from(["shorter", "squash"]),
    noise=st.booleans(),
)
def test_large_images_are_scaled_as_pillow_does(height: int, width: int, size: int, resize: str, noise: bool) -> None:
    from torchvision.transforms import v2

    gray = picture(height, width)
    if noise:
        gray = np.random.default_rng(height).integers(0, 256, (height, width), dtype=np.uint8)
    scale = v2.Resize(size) if resize == "shorter" else v2.Resize((size, size))
    reference = v2.Compose([scale, v2.CenterCrop(size)])
    np.testing.assert_array_equal(fit(gray, size, resize), np.asarray(reference(Image.fromarray(gray))))


def test_squash_scales_both_sides() -> None:
    gray = np.zeros((40, 80), dtype=np.uint8)
    gray[:, 40:] = 200
    page = fit(gray, 32, "squash")
    assert page.shape == (32, 32)
    assert (page[:, :15] == 0).all() and (page[:, 17:] == 200).all()


def test_shorter_keeps_the_middle() -> None:
    gray = np.zeros((64, 256), dtype=np.uint8)
    gray[:, 96:160] = 200
    assert (fit(gray, 64) == 200).all()


def test_a_page_of_the_right_size_is_unchanged() -> None:
    np.testing.assert_array_equal(fit(picture(64, 64), 64), picture(64, 64))


def test_unknown_resize_is_refused() -> None:
    with pytest.raises(ValueError, match="known: shorter, squash"):
        fit(picture(), 32, "stretch")  # type: ignore[arg-type]
