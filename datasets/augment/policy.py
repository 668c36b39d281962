"""Draw the angle and flip of a training image from (seed, epoch, sample index).

An image is first mirrored left to right, then rotated about its centre: bilinear, the same size, 0 outside. The
pixels are made by ``datasets.augment.warp_cpu`` or ``datasets.augment.warp_device``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datasets.augment.counter_rng import Purpose, mix, sample_words, stream_key, uniform
from datasets.errors import InputError


@dataclass(frozen=True)
class Augment:
    """Ranges of the random flip and rotation of training images."""

    rotation_deg: float = 15.0
    """The angle is uniform in plus or minus this many degrees; positive turns clockwise."""
    flip_probability: float = 0.5
    """Probability of mirroring an image left to right."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.rotation_deg <= 180.0:
            raise InputError(f"rotation_deg = {self.rotation_deg}: must lie in 0..180")
        if not 0.0 <= self.flip_probability <= 1.0:
            raise InputError(f"flip_probability = {self.flip_probability}: must lie in 0..1")


def draw(
    seed: int, epoch: int, indices: npt.NDArray[np.integer], augment: Augment
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Angles in degrees (B,) and flips (B,) of the samples ``indices`` (B,), each a function of its index alone."""
    first = sample_words(stream_key(seed, epoch, Purpose.AUGMENTATION), indices)
    angles = (2.0 * uniform(first) - 1.0) * augment.rotation_deg
    flips = uniform(mix(first)) < augment.flip_probability
    return angles.astype(np.float32), flips
