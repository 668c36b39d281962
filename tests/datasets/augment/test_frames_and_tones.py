"""Scale, crop, brightness and contrast: exact numbers, the same pixels by kernel and by torch, nothing when off."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rotated_pages import augmented_pages
from small_beton import small_pages

from datasets.augment.policy import TONE_BITS, Augment, Draws, draw
from datasets.augment.warp_cpu import warp_batch
from datasets.augment.warp_device import _stream, draw_on_device
from datasets.errors import InputError

ALL = Augment(15.0, 0.5, scale=0.2, crop=0.3, brightness=0.2, contrast=0.4)
IN_PLACE = Augment(0.0, 0.0)


def warped(pages: np.ndarray, draws: Draws) -> np.ndarray:
    """(B, S, S) uint8 by the kernel."""
    size = pages.shape[-1]
    flat = np.ascontiguousarray(pages).reshape(-1)
    flat.flags.writeable = False
    out = np.empty((len(pages), 1, size, size), dtype=np.uint8)
    warp_batch(flat, np.arange(len(pages), dtype=np.uint64) * np.uint64(size * size), draws, out)
    return out[:, 0]


def interpolated(page: np.ndarray, draws: Draws, number: int) -> np.ndarray:
    """The page by its definition, in float64, NaN where the source lies outside."""
    angle, flip, (side, right, below) = (values[number] for values in draws[:3])
    size, radians = len(page), np.deg2rad(np.float64(angle))
    place = np.arange(size) - (size - 1) / 2
    u, v = side * place + size * right, (side * place + size * below)[:, None]
    x, y = np.cos(radians) * u + np.sin(radians) * v, np.cos(radians) * v - np.sin(radians) * u
    x, y = (-x if flip else x) + (size - 1) / 2, y + (size - 1) / 2
    outside = (x < 0) | (y < 0) | (x > size - 1) | (y > size - 1)
    column, row = (np.clip(np.floor(values), 0, size - 2).astype(int) for values in (x, y))
    lower, upper = (
        page[row + k, column] * (1 - x + column) + page[row + k, column + 1] * (x - column) for k in (1, 0)
    )
    return np.where(outside, np.nan, upper * (1 - y + row) + lower * (y - row))


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 180), st.floats(0, 0.5), st.floats(0, 0.9), st.integers(0, 2**32))
def test_the_frame_is_what_it_says(degrees: float, scale: float, crop: float, seed: int) -> None:
    pages = small_pages(3, 33)
    draws = draw(seed, 1, np.arange(3), Augment(degrees, 0.5, scale=scale, crop=crop))
    found = warped(pages, draws)
    for number, page in enumerate(pages):
        expected = interpolated(page.astype(float), draws, number)
        inside = ~np.isnan(expected)
        assert np.abs(found[number][inside] - expected[inside]).max(initial=0.0) <= 1.0


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**40), st.integers(0, 99), st.floats(0, 0.5), st.floats(0, 0.9))
def test_a_window_lies_inside_and_draws_keep_their_ranges(seed: int, epoch: int, scale: float, crop: float) -> None:
    _, _, frames, tones = draw(seed, epoch, np.arange(64), replace(ALL, scale=scale, crop=crop))
    side, right, below = frames.T
    assert (side >= (1 - crop) / (1 + scale) - 1e-12).all() and (side <= 1 / (1 - scale) + 1e-12).all()
    cropped = draw(seed, epoch, np.arange(64), replace(ALL, scale=0.0, crop=crop))[2]
    assert (np.abs(cropped[:, 1:]) <= (1 - cropped[:, :1]) / 2 + 1e-12).all()
    assert crop != 0.0 or not (right.any() or below.any())
    factor = tones[:, 0] / (1 << TONE_BITS)
    assert (np.abs(factor - 1) <= 0.4 + 1e-4).all()
    shift = tones[:, 1] / (1 << TONE_BITS) - 127.5 * (1 - factor)
    assert (np.abs(shift) <= 0.2 * 255 + 1e-2).all()


def test_the_device_draws_the_same_numbers() -> None:
    indices = np.array([0, 5, 2**31, 3 | 7 << 32])
    key, ranges = _stream(3, 4, ALL, torch.device("cpu"))
    for ours, theirs in zip(
        draw_on_device(torch.from_numpy(indices), key, ranges), draw(3, 4, indices, ALL), strict=True
    ):
        assert np.array_equal(ours.numpy(), theirs)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([2, 7, 32, 65]), st.integers(0, 2**32 - 1), st.floats(0, 0.5), st.floats(0, 0.9))
def test_torch_makes_the_kernels_pixels(size: int, seed: int, scale: float, crop: float) -> None:
    pages = np.random.default_rng(seed).integers(0, 256, (3, size, size), dtype=np.uint8)
    samples = np.array([seed, 0, 5])
    augment = replace(ALL, scale=scale, crop=crop, brightness=0.0, contrast=0.0)
    images, indices = torch.from_numpy(pages)[:, None], torch.from_numpy(samples)
    draws = draw(3, 4, samples, augment)
    found, expected = (
        augmented_pages(images, indices, seed=3, epoch=4, augment=augment)[:, 0].numpy(),
        warped(pages, draws),
    )
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    for number in range(3):
        inner = ~np.isnan(interpolated(np.pad(pages[number], 0).astype(float), draws, number))
        edge = np.pad(inner, 1, constant_values=False)
        inner &= edge[:-2, 1:-1] & edge[2:, 1:-1] & edge[1:-1, :-2] & edge[1:-1, 2:]
        assert (difference[number][inner] > 0).mean() < 0.2 if inner.any() else True


@pytest.mark.parametrize(
    "augment", [replace(IN_PLACE, brightness=0.3), replace(IN_PLACE, contrast=0.8), replace(ALL, scale=0.0)]
)
def test_tones_are_exact_on_every_level_of_gray(augment: Augment) -> None:
    page = np.arange(256, dtype=np.uint8).reshape(16, 16)
    augment = replace(augment, rotation_deg=0.0, flip_probability=0.0, crop=0.0)
    pages = np.repeat(page[None], 20, axis=0)
    draws = draw(7, 0, np.arange(20), augment)
    factor, summand = draws[3][:, :1, None] / 2.0**TONE_BITS, draws[3][:, 1:, None] / 2.0**TONE_BITS
    expected = np.clip(np.floor(factor * page + summand + 0.5), 0, 255)
    found = warped(pages, draws)
    assert np.array_equal(found, expected)
    by_torch = augmented_pages(torch.from_numpy(pages)[:, None], torch.arange(20), seed=7, epoch=0, augment=augment)
    assert np.array_equal(by_torch[:, 0].numpy(), found)
    assert len({image.tobytes() for image in found}) > 15


def test_flip_and_angle_are_those_of_a_run_without_and_its_pixels_are_what_they_were() -> None:
    plain, varied = draw(1, 2, np.arange(100), Augment()), draw(1, 2, np.arange(100), ALL)
    assert np.array_equal(plain[0], varied[0]) and np.array_equal(plain[1], draw(1, 2, np.arange(100), ALL)[1])
    assert (plain[2] == [1.0, 0.0, 0.0]).all() and (plain[3] == [1 << TONE_BITS, 0]).all()
    pages = np.random.default_rng(0).integers(0, 256, (64, 32, 32), dtype=np.uint8)
    digest = hashlib.sha256(warped(pages, draw(1, 2, np.arange(64), Augment())).tobytes()).hexdigest()
    assert digest == "11b0ee486fea0a072e908f530e068f448a0cf624e9ee83c8f8aa0937101749f3"


@pytest.mark.parametrize(
    ("name", "value"), [("scale", 0.6), ("crop", -0.1), ("brightness", 2.0), ("contrast", float("nan"))]
)
def test_ranges_that_mean_nothing_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} = .*: must lie in 0.."):
        replace(Augment(), **{name: value})
