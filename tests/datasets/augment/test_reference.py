"""The fast pixels against the paper's slow pipeline: the same but for interpolation and the corners.

The paper's reference code varies the original image and then makes it small: RandomHorizontalFlip, RandomRotation
(nearest neighbour, no expansion, fill 0), Resize of the shorter side, CenterCrop. The converter resizes and crops
once, and the loader rotates the small page with bilinear interpolation. The corners differ, where rotation after the
crop has no pixels left to bring in, and so do fine edges; and where the crop leaves an odd number of columns, a flip
before it lands one pixel beside a flip after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.augment.policy import Augment, draw
from datasets.augment.warp_cpu import warp_batch
from datasets.images.resize import fit

REAL_IMAGES = sorted((Path(__file__).parents[4] / "shared" / "nih_sample" / "images").glob("*.png"))

NEAR_LEVELS, FAR_LEVELS = 1, 8


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far the pixels of two pipelines lie apart, over all images."""

    num_images: int
    mean_levels: float
    """Mean absolute difference in gray levels of 0..255."""
    within_1: float
    """Share of the pixels that differ by at most one gray level."""
    within_8: float
    mean_levels_inside: float
    """The same mean over the disc that touches the four sides, which holds the lungs."""


def reference_page(gray: np.ndarray, angle_deg: float, flip: bool, size: int) -> np.ndarray:
    """Page (size, size) uint8 of an original (H, W) uint8 with torchvision's operations on PIL images.

    ``angle_deg`` turns clockwise, as everywhere in this project; torchvision's ``rotate`` turns the other way.
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as tv

    image = Image.fromarray(gray)
    if flip:
        image = tv.hflip(image)
    image = tv.rotate(image, -angle_deg, interpolation=InterpolationMode.NEAREST, expand=False, fill=[0])
    image = tv.resize(image, [size], interpolation=InterpolationMode.BILINEAR)
    page: np.ndarray = np.asarray(tv.center_crop(image, [size, size]))
    return page


def fast_page(gray: np.ndarray, sample: int, *, seed: int, epoch: int, augment: Augment, size: int) -> np.ndarray:
    """Page (size, size) uint8 of the same original as converter and loader make it."""
    page = fit(gray, size).reshape(-1)
    page.flags.writeable = False
    out = np.empty((1, 1, size, size), dtype=np.uint8)
    warp_batch(page, np.zeros(1, dtype=np.uint64), draw(seed, epoch, np.array([sample]), augment), out)
    return out[0, 0]


def compare_with_reference(
    originals: Iterable[np.ndarray], *, seed: int = 0, epoch: int = 0, augment: Augment, size: int = 256
) -> Difference:
    """Both pipelines over ``originals`` ((H, W) uint8 each), with the same angle and flip for each image.

    Raises:
        ValueError: for no images at all.
    """
    differences = []
    for sample, gray in enumerate(originals):
        angles, flips, *_ = draw(seed, epoch, np.array([sample]), augment)
        slow = reference_page(gray, float(angles[0]), bool(flips[0]), size)
        fast = fast_page(gray, sample, seed=seed, epoch=epoch, augment=augment, size=size)
        differences.append(np.abs(slow.astype(np.int16) - fast))
    if not differences:
        raise ValueError("no images to compare")
    levels = np.stack(differences)
    place = np.arange(size) - (size - 1) / 2
    inside = np.hypot(place[:, None], place) <= size / 2
    return Difference(
        num_images=len(levels),
        mean_levels=float(levels.mean()),
        within_1=float((levels <= NEAR_LEVELS).mean()),
        within_8=float((levels <= FAR_LEVELS).mean()),
        mean_levels_inside=float(levels[:, inside].mean()),
    )


def waves(height: int, width: int, phase: float) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] / width
    return np.clip(128 + 60 * np.sin(9 * x + phase) + 40 * np.cos(7 * y), 0, 255).astype(np.uint8)


def test_it_is_torchvision_s_transforms_with_the_drawn_angle_and_flip() -> None:
    from torchvision import transforms

    gray, angle = waves(300, 200, 1.0), 11.0
    slow = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(1.0),
            transforms.RandomRotation((-angle, -angle)),
            transforms.Resize(64),
            transforms.CenterCrop(64),
        ]
    )
    assert np.array_equal(reference_page(gray, angle, True, 64), np.asarray(slow(Image.fromarray(gray))))


@pytest.mark.parametrize(("width", "probability"), [(260, 0.0), (200, 1.0)])
def test_without_rotation_both_are_equal(width: int, probability: float) -> None:
    originals = [waves(200, width, k) for k in range(3)]
    difference = compare_with_reference(originals, augment=Augment(0.0, probability), size=64)
    assert (difference.num_images, difference.mean_levels, difference.within_1) == (3, 0.0, 1.0)


def test_both_turn_the_same_way() -> None:
    gray = np.zeros((64, 64), dtype=np.uint8)
    gray[8:16, 28:36] = 200
    angles, flips, *_ = draw(0, 0, np.arange(1), Augment(90.0, 0.0))
    slow = reference_page(gray, float(angles[0]), bool(flips[0]), 64)
    assert np.abs(slow.astype(int) - fit(gray, 64)).mean() > 3
    difference = compare_with_reference([gray], augment=Augment(90.0, 0.0), size=64)
    assert difference.mean_levels < 1


def test_a_picture_that_is_not_square_differs_in_its_corners_alone() -> None:
    difference = compare_with_reference([waves(350, 250, k) for k in range(3)], augment=Augment(15.0, 0.5), size=128)
    assert difference.mean_levels_inside < 1.5 < difference.mean_levels < 15


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        compare_with_reference([], augment=Augment())


@pytest.mark.skipif(not REAL_IMAGES, reason="no folder of real X-rays beside the checkout")
def test_real_images_differ_little() -> None:
    originals = (np.asarray(Image.open(path).convert("L")) for path in REAL_IMAGES[::30])
    difference = compare_with_reference(originals, augment=Augment(15.0, 0.5))
    assert difference.mean_levels < 1.5
    assert difference.within_1 > 0.85
    assert difference.within_8 > 0.97
