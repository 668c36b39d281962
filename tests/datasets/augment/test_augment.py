"""The compiled flip and rotation against torchvision's, on made-up and on real images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rotated_pages import warp_page
from small_beton import small_pages
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from datasets.augment.network_input import scale_and_shift, to_network_input
from datasets.augment.policy import Augment, draw
from datasets.augment.warp_cpu import copy_batch, normalise_batch, warp_and_normalise_batch, warp_batch
from datasets.errors import InputError

REAL_IMAGES = sorted((Path(__file__).parents[4] / "shared" / "nih_sample" / "images").glob("*.png"))


def warped(image: np.ndarray, angle: float, flip: bool) -> np.ndarray:
    out = np.full(image.shape, 77, dtype=np.uint8)
    warp_page(np.ascontiguousarray(image).reshape(-1), out, np.float32(angle), flip)
    return out


def reference(image: np.ndarray, angle: float, flip: bool) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(image))[None]
    tensor = tv.horizontal_flip(tensor) if flip else tensor
    bilinear = InterpolationMode.BILINEAR
    return tv.affine(tensor, float(np.float32(angle)), [0, 0], 1.0, [0.0, 0.0], bilinear, fill=0)[0].numpy()


def assert_same_picture(image: np.ndarray, angle: float, flip: bool) -> None:
    difference = np.abs(warped(image, angle, flip).astype(int) - reference(image, angle, flip))
    assert (difference <= 1).mean() >= 0.999


@settings(deadline=None, max_examples=60)
@given(st.floats(-180, 180), st.booleans(), st.sampled_from([2, 7, 32, 101]), st.integers(0, 2**32 - 1))
def test_agrees_with_torchvision_on_noise(angle: float, flip: bool, size: int, seed: int) -> None:
    assert_same_picture(np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8), angle, flip)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.01, -0.3, 7.5, 15.0, -15.0, 45.0, 90.0, -90.0, 180.0])
@pytest.mark.parametrize("flip", [False, True])
def test_agrees_with_torchvision_on_smooth_pages(angle: float, flip: bool) -> None:
    for image in small_pages(2, 256):
        assert_same_picture(image, angle, flip)


@pytest.mark.skipif(not REAL_IMAGES, reason="no folder of real X-rays beside the checkout")
def test_agrees_with_torchvision_on_real_images() -> None:
    import cv2

    angles, flips, *_ = draw(0, 0, np.arange(12), Augment(15.0, 0.5))
    for path, angle, flip in zip(REAL_IMAGES[::15], angles, flips, strict=False):
        gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert_same_picture(cv2.resize(gray, (256, 256), interpolation=cv2.INTER_AREA), float(angle), bool(flip))


def test_a_large_image_stays_exact_to_its_edges() -> None:
    """The fixed-point coordinates of the inner loop must not drift over a long row."""
    image = np.random.default_rng(0).integers(0, 256, (2304, 2304), dtype=np.uint8)
    assert_same_picture(image, 14.9, True)


@pytest.mark.parametrize("size", [64, 5])
def test_no_rotation_is_an_exact_copy_and_a_flip_an_exact_mirror(size: int) -> None:
    image = small_pages(1, size)[0]
    assert np.array_equal(warped(image, 0.0, False), image)
    assert np.array_equal(warped(image, 0.0, True), image[:, ::-1])


def test_positive_angles_turn_clockwise_after_the_flip() -> None:
    image = np.zeros((5, 5), dtype=np.uint8)
    image[0, 1] = 200
    assert np.argwhere(warped(image, 90.0, False)).tolist() == [[1, 4]]
    assert np.argwhere(warped(image, 90.0, True)).tolist() == [[3, 4]]


def test_a_batch_is_its_images_one_by_one() -> None:
    pages = small_pages(5, 32)
    flat = np.concatenate([np.zeros(13, np.uint8), pages.reshape(-1)])
    flat.flags.writeable = False
    chosen = np.array([4, 0, 3], dtype=np.uint64)
    offsets = chosen * np.uint64(32 * 32) + np.uint64(13)
    out = np.empty((3, 1, 32, 32), dtype=np.uint8)
    draws = draw(9, 2, chosen, Augment(15.0, 0.5))
    angles, flips, *_ = draws
    warp_batch(flat, offsets, draws, out)
    for image, sample, angle, flip in zip(out, chosen, angles, flips, strict=True):
        assert np.array_equal(image[0], warped(pages[sample], float(angle), bool(flip)))
    scale, shift = (values.view(-1).numpy() for values in scale_and_shift(torch.device("cpu")))
    floats = np.empty((3, 32, 32, 3), dtype=np.float32)
    warp_and_normalise_batch(flat, offsets, draws, floats, scale, shift)
    assert np.array_equal(floats.transpose(0, 3, 1, 2), to_network_input(torch.from_numpy(out)).numpy())
    copy_batch(flat, offsets, out)
    assert np.array_equal(out[:, 0], pages[chosen])
    normalise_batch(flat, offsets, floats, scale, shift)
    assert np.array_equal(floats.transpose(0, 3, 1, 2), to_network_input(torch.from_numpy(out)).numpy())


@pytest.mark.parametrize(("degrees", "probability"), [(-1.0, 0.5), (181.0, 0.5), (15.0, 1.5), (float("nan"), 0.5)])
def test_ranges_that_mean_nothing_are_refused(degrees: float, probability: float) -> None:
    with pytest.raises(InputError, match="must lie in"):
        Augment(degrees, probability)


def test_kernels_are_kept_on_disk_for_the_next_process() -> None:
    code = (
        "import numpy as np; from datasets.augment.policy import Augment, draw;"
        "from datasets.augment.warp_cpu import copy_batch, warp_batch;"
        "pages = np.zeros(16, np.uint8); pages.flags.writeable = False; one = np.zeros(1, np.uint64);"
        "out = np.empty((1, 1, 4, 4), np.uint8); copy_batch(pages, one, out);"
        "warp_batch(pages, one, draw(0, 0, np.zeros(1, np.int64), Augment()), out);"
        "print([sum(kernel.stats.cache_misses.values()) for kernel in (warp_batch, copy_batch)])"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[0, 0]"
