"""Original pixels and an epoch's draws come in; the page of the paper's slow pipeline, and how far ours is, go out.

The paper's reference code varies the original image and then makes it small: RandomHorizontalFlip, RandomRotation
(nearest neighbour, no expansion, fill 0), Resize of the shorter side, CenterCrop. The converter resizes and crops
once, and the loader rotates the small page with bilinear interpolation. The corners differ, where rotation after the
crop has no pixels left to bring in, and so do fine edges; and where the crop leaves an odd number of columns, a flip
before it lands one pixel beside a flip after it. This module says by how much. It is no part of training.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from datasets.augment.counter_rng import Purpose, stream_key
from datasets.augment.policy import Augment, draw
from datasets.images.resize import fit

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
    from datasets.augment.warp_cpu import warp_batch
    from datasets.kernels.shared_work import new_tasks

    page = fit(gray, size).reshape(-1)
    page.flags.writeable = False
    out = np.empty((1, 1, size, size), dtype=np.uint8)
    key = np.uint64(stream_key(seed, epoch, Purpose.AUGMENTATION))
    zero, samples = np.zeros(1, dtype=np.uint64), np.array([sample], dtype=np.uint64)
    ranges = float(augment.rotation_deg), float(augment.flip_probability)
    warp_batch(page, zero, samples, out, key, *ranges, new_tasks())
    page_out: np.ndarray = out[0, 0]
    return page_out


def compare_with_reference(
    originals: Iterable[np.ndarray], *, seed: int = 0, epoch: int = 0, augment: Augment, size: int = 256
) -> Difference:
    """Both pipelines over ``originals`` ((H, W) uint8 each), with the same angle and flip for each image.

    Raises:
        ValueError: for no images at all.
    """
    differences = []
    for sample, gray in enumerate(originals):
        angles, flips = draw(seed, epoch, np.array([sample]), augment)
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
