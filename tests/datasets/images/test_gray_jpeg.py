"""The fast decoder of gray JPEGs: the pixels of libjpeg to the bit, and whatever is not whole is refused."""

from __future__ import annotations

import functools
import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_beton import small_pages

from datasets.images.by_hand import gray_jpeg
from datasets.images.by_hand.gray_jpeg import DamagedJpegError, GrayJpegs, Tables
from datasets.images.by_hand.gray_jpeg_kernel import decode_batch
from datasets.images.encode import encode_page
from datasets.images.jpeg import JpegError, decode_jpeg
from datasets.kernels.shared_work import new_tasks

SIDE = 32


def encoded(page: np.ndarray, quality: int = 95, *options: int) -> bytes:
    return cv2.imencode(".jpg", page, [cv2.IMWRITE_JPEG_QUALITY, quality, *options])[1].tobytes()


def laid_out(jpegs: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The JPEGs in one file, with other bytes between them: data, pointers, sizes."""
    gap = b"\xff\x00\xd9"
    sizes = np.array([len(jpeg) for jpeg in jpegs], dtype=np.uint64)
    pointers = np.cumsum([len(gap), *(len(jpeg) + len(gap) for jpeg in jpegs[:-1])]).astype(np.uint64)
    return np.frombuffer(gap + gap.join(jpegs), dtype=np.uint8), pointers, sizes


def decode(jpegs: list[bytes], side: int = SIDE, first: bytes | None = None, num_threads: int = 2) -> np.ndarray:
    out = np.full((len(jpegs), 1, side, side), 77, dtype=np.uint8)
    decoder = GrayJpegs(jpegs[0] if first is None else first, side, num_threads=num_threads)
    decoder.decode(*laid_out(jpegs), out)
    return out[:, 0]


def num_irregular(jpegs: list[bytes], side: int = SIDE) -> int:
    """How many the fast kernel leaves to the library."""
    tables = Tables.of(jpegs[0], side)
    assert tables is not None
    status, out = np.empty(len(jpegs), dtype=np.uint8), np.empty((len(jpegs), side, side // 8), dtype=np.uint64)
    decode_batch(*laid_out(jpegs), np.arange(len(jpegs)), tables.arrays, out, status, new_tasks())
    return int(status.sum())


def pictures(side: int, seed: int) -> list[np.ndarray]:
    """Noise, edges, flat areas and smooth waves: all lengths of codes, blocks that end early and late."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (side, side), dtype=np.uint8)
    edges = ((noise > 128) * 255).astype(np.uint8)
    sparse = np.where(rng.random((side, side)) < 0.01, 255, 0).astype(np.uint8)
    flat = np.full((side, side), rng.integers(0, 256), dtype=np.uint8)
    return [noise, edges, sparse, flat, *small_pages(2, side)]


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([8, 32, 64, 160]), st.integers(1, 100), st.integers(0, 1000))
def test_pixels_are_those_of_libjpeg(side: int, quality: int, seed: int) -> None:
    jpegs = [encoded(page, quality) for page in pictures(side, seed)]
    assert num_irregular(jpegs, side) == 0
    assert np.array_equal(decode(jpegs, side), np.stack([decode_jpeg(jpeg) for jpeg in jpegs]))


def test_threads_and_batches_change_nothing() -> None:
    jpegs = [encoded(page) for page in small_pages(9, SIDE)]
    expected = decode(jpegs, num_threads=1)
    assert np.array_equal(decode(jpegs, num_threads=2), expected)
    assert np.array_equal(decode(jpegs[4:5]), expected[4:5])


def outcome(jpeg: bytes) -> np.ndarray | str:
    """What the library says of a JPEG."""
    try:
        gray = decode_jpeg(jpeg)
    except JpegError as error:
        return str(error)
    return gray if gray.shape == (SIDE, SIDE) else f"its size is {gray.shape[1]} x {gray.shape[0]}"


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_damaged_jpeg_is_decoded_as_by_the_library_or_refused_as_by_the_library(data: st.DataObject) -> None:
    """Cut, overwritten, lengthened: never other pixels than libjpeg's, never those of another image."""
    jpeg = encoded(pictures(SIDE, data.draw(st.integers(0, 20)))[data.draw(st.integers(0, 5))])
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
    expected = outcome(bytes(damaged))
    whole = encoded(small_pages(1, SIDE)[0])
    if isinstance(expected, str):
        with pytest.raises(DamagedJpegError) as caught:
            decode([whole, bytes(damaged)], first=whole)
        assert caught.value.position == 1 and str(caught.value) == expected
    else:
        found = decode([whole, bytes(damaged)], first=whole)
        assert np.array_equal(found[1], expected) and np.array_equal(found[0], decode_jpeg(whole))


def test_cut_at_every_byte_it_is_refused() -> None:
    jpeg = encoded(small_pages(1, SIDE)[0])
    for length in range(len(jpeg)):
        with pytest.raises(DamagedJpegError):
            decode([jpeg[:length]], first=jpeg)


def saved(page: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "other",
    [
        functools.partial(saved, progressive=True),
        functools.partial(saved, optimize=True),
        functools.partial(saved, restart_marker_blocks=3),
        functools.partial(saved, comment=b"by another program"),
        lambda page: saved(np.stack([page] * 3, axis=2)),
        lambda page: encoded(page, 60),
    ],
)
def test_jpegs_of_other_kinds_are_decoded_by_the_library(other: object) -> None:
    pages = small_pages(3, SIDE)
    jpegs = [encoded(pages[0]), other(pages[1]), encoded(pages[2])]
    for first in jpegs[:2]:
        found = decode(jpegs, first=first)
        assert np.array_equal(found, np.stack([decode_jpeg(jpeg) for jpeg in jpegs]))


@pytest.mark.parametrize("side", [16, 40, 64])
def test_another_size_is_refused(side: int) -> None:
    pages = [encoded(small_pages(1, SIDE)[0]), encoded(small_pages(1, side)[0])]
    with pytest.raises(DamagedJpegError, match=f"its size is {side} x {side}"):
        decode(pages)


def test_without_the_library_opencv_decodes_and_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(jpeg: bytes) -> np.ndarray:
        raise ImportError("libturbojpeg is missing")

    monkeypatch.setattr(gray_jpeg, "decode_jpeg", missing)
    page = small_pages(1, SIDE)[0]
    jpeg, progressive = encoded(page), saved(page, progressive=True)
    found = decode([progressive], first=jpeg)[0]
    assert np.abs(found.astype(int) - page).mean() < 3
    for damaged in (progressive[:-20], b"", jpeg[:100]):
        with pytest.raises(DamagedJpegError, match="not a whole JPEG"):
            decode([damaged], first=jpeg)


def test_pages_are_encoded_so_that_the_fast_decoder_takes_them() -> None:
    pages = small_pages(4, SIDE)
    jpegs = [encode_page(page, 95) for page in pages]
    assert num_irregular(jpegs) == 0
    assert np.abs(decode(jpegs).astype(int) - pages).mean() < 2.5
    assert [encode_page(page, None) for page in pages] == [page.tobytes() for page in pages]
