from __future__ import annotations

import functools
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_kinds import encode, picture
from PIL import Image
from small_beton import small_pages

from datasets.images import ImageError
from datasets.images.decode import decode_gray
from datasets.images.jpeg import MAX_SCANS, decode_jpeg, decode_page, encode_page
from datasets.images.resize import COVER, fit

SIDE = 32


def gray_jpeg(pixels: np.ndarray, quality: int = 95, **options: object) -> bytes:
    return encode(Image.fromarray(pixels), "JPEG", quality=quality, **options)


def by_pillow(data: bytes, eighths: int = 8) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", tuple(-(-side * eighths // 8) for side in image.size))
        return np.asarray(image)


def pictures(side: int, seed: int) -> list[np.ndarray]:
    """Noise, edges, flat areas and smooth waves: all lengths of codes, blocks that end early and late."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (side, side), dtype=np.uint8)
    edges = ((noise > 128) * 255).astype(np.uint8)
    sparse = np.where(rng.random((side, side)) < 0.01, 255, 0).astype(np.uint8)
    flat = np.full((side, side), rng.integers(0, 256), dtype=np.uint8)
    return [noise, edges, sparse, flat, *small_pages(2, side)]


def page_of(data: bytes, side: int = SIDE) -> np.ndarray:
    page = np.full((side, side), 77, dtype=np.uint8)
    decode_page(data, page)
    return page


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([8, 32, 64, 160]), st.integers(1, 100), st.integers(0, 1000))
def test_pages_decode_to_pillow_s_pixels(side: int, quality: int, seed: int) -> None:
    for pixels in pictures(side, seed):
        jpeg = encode_page(pixels, quality)
        assert np.array_equal(page_of(jpeg, side), by_pillow(jpeg))
        assert np.array_equal(decode_jpeg(jpeg), by_pillow(jpeg))


def test_a_page_is_stored_as_jpeg_or_as_it_is() -> None:
    pages = small_pages(4, SIDE)
    decoded = np.stack([page_of(encode_page(page, 95)) for page in pages])
    assert np.abs(decoded.astype(int) - pages).mean() < 2.5
    assert [encode_page(page, None) for page in pages] == [page.tobytes() for page in pages]


@pytest.mark.parametrize(
    "other",
    [
        functools.partial(gray_jpeg, progressive=True),
        functools.partial(gray_jpeg, optimize=True),
        functools.partial(gray_jpeg, restart_marker_blocks=3),
        functools.partial(gray_jpeg, comment=b"by another program"),
        lambda page: gray_jpeg(np.stack([page] * 3, axis=2)),
        lambda page: gray_jpeg(page).replace(b"JFIF\0\1", b"JFIF\0\3"),
    ],
)
def test_pages_written_by_other_programs_decode(other) -> None:
    jpeg = other(small_pages(1, SIDE)[0])
    assert np.array_equal(page_of(jpeg), by_pillow(jpeg))
    assert np.array_equal(page_of(memoryview(jpeg)), by_pillow(jpeg))


@pytest.mark.parametrize("cut", [False, True])
def test_harmless_warnings_do_not_hide_damage(cut: bool) -> None:
    jpeg = gray_jpeg(picture(256, 256))
    expected = by_pillow(jpeg)
    start = jpeg.index(b"\xff\xdb")
    odd = jpeg[:start].replace(b"JFIF\0\1", b"JFIF\0\3") + b"\0\0" + jpeg[start:]
    if cut:
        with pytest.raises(ImageError, match="Premature end"):
            decode_jpeg(odd[: len(odd) // 2])
    else:
        assert np.array_equal(decode_jpeg(odd), expected)


def test_an_unknown_transform_of_adobe_s_is_read_as_libjpeg_does() -> None:
    colour = encode(Image.fromarray(np.dstack([picture(seed=seed) for seed in range(3)])), "JPEG", quality=95)
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0\7"
    assert np.array_equal(decode_jpeg(colour[:2] + adobe + colour[2:]), by_pillow(colour))


@pytest.mark.parametrize("side", [16, 40, 64])
def test_a_page_of_another_size_is_refused(side: int) -> None:
    with pytest.raises(ImageError, match=f"its size is {side} x {side}"):
        page_of(gray_jpeg(small_pages(1, side)[0]))


def outcome(decode, data: bytes) -> np.ndarray | str:
    try:
        return decode(data)
    except ImageError as error:
        return str(error)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_damaged_page_is_refused_or_decoded_as_a_file_is(data: st.DataObject) -> None:
    """Cut, overwritten, lengthened; afterwards a whole page decodes as before."""
    jpeg = encode_page(pictures(SIDE, data.draw(st.integers(0, 20)))[data.draw(st.integers(0, 5))], 95)
    damaged = bytearray(jpeg)
    for _ in range(data.draw(st.integers(1, 3))):
        kind = data.draw(st.sampled_from(["bit", "byte", "cut", "zeros", "more"]))
        place = data.draw(st.integers(0, max(0, len(damaged) - 1)))
        if kind == "bit" and damaged:
            damaged[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "byte" and damaged:
            damaged[place] = data.draw(st.sampled_from([0, 0xFF, 0xD9, 0xD0]))
        elif kind == "cut":
            del damaged[place:]
        elif kind == "zeros":
            damaged[place : place + 40] = bytes(len(damaged[place : place + 40]))
        else:
            damaged[place:place] = b"\xff\xd3\x12"
    expected, found = outcome(decode_jpeg, bytes(damaged)), outcome(page_of, bytes(damaged))
    if isinstance(expected, np.ndarray) and expected.shape != (SIDE, SIDE):
        expected = f"its size is {expected.shape[1]} x {expected.shape[0]}"
    assert np.array_equal(found, expected)
    whole = encode_page(small_pages(1, SIDE)[0], 95)
    assert np.array_equal(page_of(whole), by_pillow(whole))


def test_cut_at_every_byte_it_is_refused() -> None:
    jpeg = encode_page(small_pages(1, SIDE)[0], 95)
    for length in range(len(jpeg)):
        with pytest.raises(ImageError):
            page_of(jpeg[:length])
        with pytest.raises(ImageError):
            decode_jpeg(jpeg[:length])


def test_a_progressive_jpeg_of_endless_scans_is_refused() -> None:
    jpeg = gray_jpeg(picture(64, 64), progressive=True)
    start, end = jpeg.rindex(b"\xff\xda"), len(jpeg) - 2
    with pytest.raises(ImageError, match="more than 500 scans"):
        decode_jpeg(jpeg[:end] + jpeg[start:end] * MAX_SCANS + jpeg[end:])


@pytest.mark.parametrize("inks", [b"CMYK", b"YCCK"])
def test_a_cmyk_jpeg_that_was_cut_and_closed_is_refused(inks: bytes) -> None:
    channels = np.dstack([picture(256, 256, seed) for seed in range(4)])
    data = encode(Image.fromarray(channels, "CMYK"), "JPEG", quality=95)
    if inks == b"YCCK":
        at = data.index(b"Adobe") + 11
        data = data[:at] + b"\2" + data[at + 1 :]
    assert decode_gray(data).shape == (256, 256)
    with pytest.raises(ImageError, match="damaged JPEG"):
        decode_gray(data[: len(data) // 2] + b"\xff\xd9")


@pytest.mark.parametrize(
    ("marker", "bits", "kind"),
    [(0xC0, 12, "JPEG of 12 bits"), (0xC3, 16, "lossless JPEG of 16 bits"), (0xF7, 8, "JPEG-LS of 8 bits")],
)
def test_a_kind_that_is_not_decoded_is_not_called_damaged(marker: int, bits: int, kind: str) -> None:
    data = bytearray(gray_jpeg(picture(64, 64)))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, bits
    with pytest.raises(ImageError, match=f"^{kind}, which is not read here; save it as PNG, .* imagecodecs"):
        decode_jpeg(bytes(data))


def test_exif_behind_a_large_profile_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data = gray_jpeg(picture(), exif=exif)
    profile = b"".join(b"\xff\xe2\xff\xff" + bytes(0xFFFD) for _ in range(3))
    np.testing.assert_array_equal(decode_gray(data[:2] + profile + data[2:]), by_pillow(data)[::-1, ::-1])


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    quality=st.integers(1, 100),
    seed=st.integers(0, 1000),
    eighths=st.sampled_from([1, 2, 4, 8]),
    optimize=st.booleans(),
)
def test_reduced_pixels_are_those_of_libjpeg_s_scaled_decoding(
    height: int, width: int, quality: int, seed: int, eighths: int, optimize: bool
) -> None:
    data = gray_jpeg(picture(height, width, seed), quality, optimize=optimize)
    at_least = min(height, width) * eighths // 8
    reduced = decode_jpeg(data, at_least=at_least)
    assert min(reduced.shape) >= at_least
    assert reduced.flags.c_contiguous
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", (width * eighths // 8, height * eighths // 8))
        assert np.array_equal(reduced, np.asarray(image))


@pytest.mark.parametrize(
    "options",
    [{"progressive": True}, {"restart_marker_blocks": 3}, {"restart_marker_rows": 1}, {"colour": True}],
    ids=["progressive", "restarts by block", "restarts by row", "colour"],
)
def test_every_kind_of_jpeg_is_reduced(options: dict) -> None:
    pixels = picture(256, 320)
    image = Image.fromarray(pixels)
    if options.pop("colour", False):
        image = Image.merge("RGB", [image] * 3)
    data = encode(image, "JPEG", quality=90, **options)
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
    page, reference = fit(decode_gray(data, COVER * 128), 128), fit(decode_gray(data), 128)
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
    except ImageError:
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
