from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_kinds import encode, picture
from PIL import Image

from datasets.images.by_hand.reduced_jpeg import decode_reduced
from datasets.images.decode import ImageError, decode_gray
from datasets.images.jpeg import JpegError, decode_jpeg
from datasets.images.resize import fit, smallest_reduced


def gray_jpeg(pixels: np.ndarray, quality: int = 95, **options: object) -> bytes:
    return encode(Image.fromarray(pixels), "JPEG", quality=quality, **options)


def cosines(size: int, num: int) -> np.ndarray:
    """(size, num): the first ``num`` functions of the orthonormal cosine transform at ``size`` points."""
    place, frequency = np.arange(size)[:, None], np.arange(num)[None]
    scale = np.where(frequency == 0, np.sqrt(1 / size), np.sqrt(2 / size))
    return scale * np.cos((2 * place + 1) * frequency * np.pi / (2 * size))


def reduced_from_pixels(pixels: np.ndarray, side: int) -> np.ndarray:
    """What ``side`` x ``side`` pixels a block should come out, from fully decoded pixels, before rounding.

    Blocks beyond the edge are left out, since a decoder does not show what is stored there.
    """
    down, across = (extent // 8 for extent in pixels.shape)
    blocks = pixels[: down * 8, : across * 8].astype(float).reshape(down, 8, across, 8) - 128
    kept = np.einsum("xu,axby,yv->aubv", cosines(8, side), blocks, cosines(8, side))
    if side == 2:
        kept[:, 1, :, 1] = 0
    drawn = np.einsum("xu,aubv,yv->axby", cosines(side, side), kept, cosines(side, side)) * side / 8
    return drawn.reshape(down * side, across * side) + 128


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    quality=st.integers(1, 100),
    seed=st.integers(0, 1000),
    side=st.sampled_from([1, 2]),
    optimize=st.booleans(),
    noise=st.booleans(),
)
def test_it_is_what_the_full_pixels_say_of_each_block(
    height: int, width: int, quality: int, seed: int, side: int, optimize: bool, noise: bool
) -> None:
    pixels = picture(height, width, seed) // 2 + 60
    if noise:
        pixels = np.random.default_rng(seed).integers(60, 190, (height, width), dtype=np.uint8)
    data = gray_jpeg(pixels, quality, optimize=optimize)
    full = decode_jpeg(data)
    reduced = decode_reduced(data, side)
    assert reduced is not None
    assert reduced.shape == (-(-height * side // 8), -(-width * side // 8))
    assert reduced.flags.c_contiguous
    if full.min() == 0 or full.max() == 255:
        return  # what was cut off at black or white is known to the coefficients alone
    expected = reduced_from_pixels(full, side)
    assert np.abs(reduced[: expected.shape[0], : expected.shape[1]] - expected).max() <= 1.0


def uneven(kind: str) -> np.ndarray:
    """Pictures whose codes are spread over the file in different ways."""
    rng = np.random.default_rng(3)
    noise = rng.integers(60, 190, (700, 520), dtype=np.uint8)
    flat, smooth = np.full_like(noise, 90), picture(700, 520) // 2 + 60
    if kind == "all alike":
        return flat
    parts = {"busy above": (noise, flat), "busy below": (flat, noise), "smooth, then busy": (smooth, noise)}
    above, below = parts[kind]
    return np.concatenate([above[:320], below[320:]])


@pytest.mark.parametrize("kind", ["busy above", "busy below", "smooth, then busy", "all alike"])
@pytest.mark.parametrize("optimize", [False, True], ids=["usual codes", "codes of its own"])
@pytest.mark.parametrize("side", [1, 2])
def test_reading_at_two_places_meets_whatever_lies_where(kind: str, optimize: bool, side: int) -> None:
    data = gray_jpeg(uneven(kind), 95, optimize=optimize)
    reduced = decode_reduced(data, side)
    assert reduced is not None
    expected = reduced_from_pixels(decode_jpeg(data), side)
    assert np.abs(reduced[: expected.shape[0], : expected.shape[1]] - expected).max() <= 1.0


@pytest.mark.parametrize("blocks", [-1, 1])
def test_a_picture_with_a_row_of_blocks_too_many_or_too_few_is_refused(blocks: int) -> None:
    data = bytearray(gray_jpeg(uneven("smooth, then busy")))
    height = data.index(b"\xff\xc0") + 5
    data[height : height + 2] = (700 + 8 * blocks).to_bytes(2, "big")
    assert decode_reduced(bytes(data), 2) is None


@pytest.mark.parametrize(
    "options",
    [{"progressive": True}, {"restart_marker_blocks": 3}, {"restart_marker_rows": 1}, {"colour": True}],
    ids=["progressive", "restarts by block", "restarts by row", "colour"],
)
def test_other_kinds_are_left_to_the_library_at_the_same_scale(options: dict) -> None:
    pixels = picture(256, 320)
    image = Image.fromarray(pixels)
    if options.pop("colour", False):
        image = Image.merge("RGB", [image] * 3)
    data = encode(image, "JPEG", quality=90, **options)
    assert decode_reduced(data, 2) is None
    assert decode_gray(data, 64).shape == (64, 80)
    assert np.abs(fit(decode_gray(data, 64), 32).astype(int) - fit(decode_gray(data), 32)).max() <= 8


@pytest.mark.parametrize(
    ("at_least", "shape"), [(None, (256, 320)), (129, (256, 320)), (128, (128, 160)), (64, (64, 80)), (32, (32, 40))]
)
def test_the_scale_is_the_smallest_that_covers(at_least: int | None, shape: tuple[int, int]) -> None:
    assert decode_gray(gray_jpeg(picture(256, 320)), at_least).shape == shape


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_is_applied_to_reduced_pixels(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = decode_gray(gray_jpeg(picture(256, 320), exif=exif), 64)
    plain = decode_gray(gray_jpeg(picture(256, 320)), 64)
    np.testing.assert_array_equal(turned, np.rot90(plain, 2 if orientation == 3 else 3))


@pytest.mark.parametrize("noise", [0, 4])
def test_a_page_differs_by_little_from_that_of_a_full_decode(noise: int) -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:1600, 0:1400]
    pixels = 120 + 60 * np.sin(x / 90) * np.cos(y / 70) + rng.normal(0, noise, x.shape)
    pixels[300:500, 200:900] += 50
    pixels[(x - 700) ** 2 + (y - 1000) ** 2 < 200**2] -= 70
    data = gray_jpeg(np.clip(pixels, 0, 255).astype(np.uint8))
    page, reference = fit(decode_gray(data, smallest_reduced(128)), 128), fit(decode_gray(data), 128)
    difference = np.abs(page.astype(int) - reference)
    assert difference.mean() < 0.25
    assert (difference <= 1).mean() > 0.985
    assert difference.max() <= 8


JPEG_FILE = gray_jpeg(picture(256, 256))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(JPEG_FILE) - 1))
def test_a_file_cut_anywhere_is_refused_as_in_full(length: int) -> None:
    with pytest.raises(ImageError):
        decode_gray(JPEG_FILE[:length], 64)


def accepted(data: bytes, at_least: int | None) -> bool:
    try:
        decode_jpeg(data, at_least=at_least)
    except JpegError:
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(position=st.integers(2, len(JPEG_FILE) - 1), change=st.integers(1, 255), at_least=st.sampled_from([32, 64]))
def test_what_is_refused_in_full_is_refused_reduced(position: int, change: int, at_least: int) -> None:
    data = bytearray(JPEG_FILE)
    data[position] ^= change
    assert accepted(bytes(data), None) or not accepted(bytes(data), at_least)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(3, 700))
def test_garbage_behind_any_part_of_the_header_does_no_harm(garbage: bytes, length: int) -> None:
    data = JPEG_FILE[:length] + garbage
    assert accepted(data, None) or not accepted(data, 64)


def test_pillow_reads_the_test_files() -> None:
    with Image.open(io.BytesIO(JPEG_FILE)) as image:
        assert (image.mode, image.size) == ("L", (256, 256))
