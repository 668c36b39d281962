"""The fast pixels against the paper's slow pipeline: the same but for interpolation and the corners."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.augment.policy import Augment, draw
from datasets.augment.reference import compare_with_reference, reference_page
from datasets.images.resize import fit

REAL_IMAGES = sorted((Path(__file__).parents[4] / "shared" / "nih_sample" / "images").glob("*.png"))


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
    angles, flips = draw(0, 0, np.arange(1), Augment(90.0, 0.0))
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
