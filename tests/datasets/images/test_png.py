from __future__ import annotations

import io
import resource
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_kinds import GRAY, GRAY_ALPHA, PALETTE, RGB, RGBA, adam7, chunk, encode, picture, png, scanlines
from PIL import Image

from datasets.images import ImageError, ImageWarning
from datasets.images.decode import decode_gray
from datasets.images.png import decode_png, read_header

CHANNELS = {GRAY: 1, GRAY_ALPHA: 2, RGB: 3, RGBA: 4}


def predicted(kind: int, left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """What PNG's filter ``kind`` expects of bytes, from their neighbours; the specification's own words."""
    if kind == 4:
        guess = left + up - corner
        distances = np.stack([abs(guess - left), abs(guess - up), abs(guess - corner)])
        return np.choose(distances.argmin(axis=0), [left, up, corner])
    return [np.zeros_like(left), left, up, (left + up) // 2][kind]


def filtered(rows: np.ndarray, step: int, kinds: list[int]) -> bytes:
    """Rows (H, W * step) uint8 as a PNG encoder stores them with the given filter for each."""
    padded = np.zeros((rows.shape[0] + 1, rows.shape[1] + step), dtype=np.int64)
    padded[1:, step:] = rows
    stored = b""
    for y, kind in enumerate(kinds):
        left, up, corner = padded[y + 1, :-step], padded[y, step:], padded[y, :-step]
        stored += bytes([kind]) + ((rows[y] - predicted(kind, left, up, corner)) % 256).astype(np.uint8).tobytes()
    return stored


def by_opencv(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    return pixels[:, :, 2] if pixels.ndim == 3 else pixels


@settings(max_examples=150, deadline=None)
@given(
    colour=st.sampled_from(sorted(CHANNELS)),
    depth=st.sampled_from([8, 16]),
    width=st.integers(1, 20),
    kinds=st.lists(st.integers(0, 4), min_size=1, max_size=14),
    seed=st.integers(0, 1000),
    smooth=st.booleans(),
)
def test_every_filter_of_every_kind_gives_the_stored_values(
    colour: int, depth: int, width: int, kinds: list[int], seed: int, smooth: bool
) -> None:
    step = CHANNELS[colour] * depth // 8
    rows = np.random.default_rng(seed).integers(0, 256, (len(kinds), width * step), dtype=np.uint8)
    if smooth:
        rows = picture(len(kinds), width * step, seed)
    data = png(width, len(kinds), depth, colour, filtered(rows, step, kinds))
    gray = decode_png(data, read_header(data))
    assert gray.flags.c_contiguous
    np.testing.assert_array_equal(gray, rows[:, ::step])
    np.testing.assert_array_equal(gray, by_opencv(data))


@pytest.mark.parametrize("mode", ["L", "I;16", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("extent", [(256, 256), (301, 333), (1024, 260)])
def test_large_files_of_pillow_decode_to_its_own_pixels(mode: str, extent: tuple[int, int]) -> None:
    pixels = picture(*extent)
    if mode == "I;16":
        image = Image.fromarray(pixels.astype(np.uint16) * 256 + 7)
    else:
        image = Image.merge(mode, [Image.fromarray(picture(*extent, seed)) for seed in range(len(mode))])
        image = Image.fromarray(pixels) if mode == "L" else image
    data = encode(image, "PNG")
    np.testing.assert_array_equal(decode_gray(data), pixels)


WIDE = picture(256, 260)


def large(raw: bytes, *, compressed: bytes | None = None, extra: bytes = b"", depth: int = 8) -> bytes:
    """A PNG of 260 x 256 pixels."""
    data = png(260, 256, depth, GRAY, raw, extra=extra)
    if compressed is None:
        return data
    start = data.index(b"IDAT") - 4
    return data[:start] + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


RAW = scanlines(WIDE)
PACKED = zlib.compress(RAW)


@pytest.mark.parametrize(
    "data",
    [
        large(RAW[:-1]),
        large(RAW[: len(RAW) // 2]),
        large(b"\5" + RAW[1:]),
        large(RAW, compressed=PACKED[: len(PACKED) // 2] + b"\0\0" + PACKED[len(PACKED) // 2 + 2 :]),
        large(RAW, compressed=PACKED[2:]),
        large(RAW, compressed=b""),
    ],
    ids=["a byte short", "half", "unknown filter", "two bytes cleared", "no zlib header", "no data"],
)
def test_sound_chunks_with_damaged_pixels_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="its pixels do not decode"):
        decode_gray(data)


@pytest.mark.parametrize("compressed", [PACKED[:-6], PACKED[:-1] + bytes([PACKED[-1] ^ 1])], ids=["absent", "wrong"])
def test_a_missing_checksum_of_zlib_does_no_harm_to_pixels_whose_chunks_are_sound(compressed: bytes) -> None:
    np.testing.assert_array_equal(decode_gray(large(RAW, compressed=compressed)), WIDE)


@pytest.mark.parametrize(
    "data",
    [
        large(RAW + b"\0" * 1000),
        png(256, 256, 8, GRAY, adam7(WIDE[:, :256]), interlaced=True),
        png(256, 256, 8, PALETTE, scanlines(WIDE[:, :256]), extra=chunk(b"PLTE", bytes(range(256)) * 3)),
        png(520, 256, 4, GRAY, RAW),
    ],
    ids=["bytes behind the last row", "interlaced", "palette", "4 bit"],
)
def test_the_rare_kinds_decode_as_by_opencv(data: bytes) -> None:
    np.testing.assert_array_equal(decode_gray(data), by_opencv(data))


def test_pixels_in_many_chunks_are_one_stream() -> None:
    whole = large(RAW)
    start = whole.index(b"IDAT") - 4
    parts = b"".join(chunk(b"IDAT", PACKED[at : at + 997]) for at in range(0, len(PACKED), 997))
    np.testing.assert_array_equal(decode_gray(whole[:start] + parts + chunk(b"IEND", b"")), WIDE)
    split = chunk(b"IDAT", PACKED[:500]) + chunk(b"tIME", bytes(7)) + chunk(b"IDAT", PACKED[500:])
    with pytest.raises(ImageError, match="its pixels do not decode"):
        decode_gray(whole[:start] + split + chunk(b"IEND", b""))


def test_a_small_file_that_unpacks_to_gigabytes_takes_no_memory() -> None:
    packer = zlib.compressobj()
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decode_gray(large(RAW, compressed=bomb)).shape == WIDE.shape
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_real_depth_16_keeps_the_upper_byte() -> None:
    values = np.random.default_rng(0).integers(0, 1 << 16, (256, 260)).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    np.testing.assert_array_equal(decode_gray(buffer.getvalue()), values >> 8)


def test_an_animation_is_refused() -> None:
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(2)]
    with pytest.raises(ImageError, match="animated PNG; a single image is expected"):
        decode_gray(encode(frames[0], "PNG", save_all=True, append_images=frames[1:]))


def test_16_bits_that_vanish_with_their_lower_byte_are_warned_of() -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    with pytest.warns(ImageWarning, match="0 to 255, have the same upper byte: one gray value"):
        decode_gray(buffer.getvalue())


def test_libpng_writes_nothing_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageError, match="its pixels do not decode"):
        decode_gray(png(64, 64, 1, GRAY, b"\7" + bytes(8) * 64))
    assert capfd.readouterr().err == ""
