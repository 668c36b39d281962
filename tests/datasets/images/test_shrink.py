"""Shrunk images have the very pixels of Pillow's filter, whichever way they are computed."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets.images import shrink as module
from datasets.images.resize import Resize, _placement, fit
from datasets.images.shrink import shrink


def _by_pillow(gray: np.ndarray, size: int, resize: Resize) -> np.ndarray:
    height, width, top, left = _placement(*gray.shape, size, resize)
    scaled = Image.fromarray(gray).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled)[top : top + size, left : left + size]


def _noise(height: int, width: int, seed: int, *, only_extremes: bool = False) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return np.where(noise < 128, 0, 255).astype(np.uint8) if only_extremes else noise


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([1, 2, 31, 32, 96]),
    st.sampled_from(["shorter", "squash"]),
    st.booleans(),
)
def test_pages_of_any_shape_are_pillows(height: int, width: int, size: int, resize: Resize, extremes: bool) -> None:
    gray = _noise(height, width, height * 301 + width, only_extremes=extremes)
    np.testing.assert_array_equal(fit(gray, size, resize), _by_pillow(gray, size, resize))


@pytest.mark.parametrize("shape", [(1024, 1024), (764, 636), (3056, 2544), (2021, 2022), (1760, 2140)])
@pytest.mark.parametrize("resize", ["shorter", "squash"])
def test_radiographs_are_shrunk_without_pillow_to_its_pixels(shape: tuple[int, int], resize: Resize) -> None:
    gray = _noise(*shape, seed=0)
    with mock.patch.object(module, "shrink", wraps=shrink) as called:
        page = fit(gray, 256, resize)
    called.assert_called_once()
    np.testing.assert_array_equal(page, _by_pillow(gray, 256, resize))


def test_white_stays_white_however_far_it_is_shrunk() -> None:
    white = np.full((4000, 4000), 255, dtype=np.uint8)
    assert shrink(white, (1, 1), (0, 0), 1).tolist() == [[255]]
    assert np.unique(shrink(white, (37, 37), (2, 3), 32)).tolist() == [255]


def test_the_source_may_be_read_only_and_stays_writable() -> None:
    gray = _noise(64, 64, seed=1)
    shown = np.frombuffer(gray.tobytes(), dtype=np.uint8).reshape(64, 64)
    np.testing.assert_array_equal(fit(shown, 32), fit(gray, 32))
    assert gray.flags.writeable
