"""Draw the augmentation of a training image from (seed, epoch, sample index).

An image is first mirrored left to right, then rotated and scaled about its centre, then cropped, all in one bilinear
step, the same size, 0 outside; then contrast and brightness change. The pixels are made by
``datasets.augment.warp_cpu`` or ``datasets.augment.warp_device``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from datasets.augment import MOST
from datasets.augment.counter_rng import Purpose, mix, sample_words, stream_key, uniform
from datasets.errors import InputError

TONE_BITS = 16
"""Contrast and brightness are integers in units of 2**-16 gray levels, so that every device makes the same bytes."""
MID_GRAY, WHITE = 127.5, 255.0

Draws: TypeAlias = tuple[
    npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.float64], npt.NDArray[np.int64]
]
"""Of B samples: angles in degrees (B,); flips (B,); frames (B, 3), the window's side and the place of its centre to
the right of and below the image's, in sides of the image before rotation; tones (B, 2), factor and summand of gray
levels in units of 2**-16."""


@dataclass(frozen=True)
class Augment:
    """Ranges of the random changes of training images; 0 leaves a change out."""

    rotation_deg: float = 15.0
    """The angle is uniform in plus or minus this many degrees; positive turns clockwise."""
    flip_probability: float = 0.5
    """Probability of mirroring an image left to right."""
    scale: float = 0.0
    """The image is enlarged by a factor uniform in 1 plus or minus this."""
    crop: float = 0.0
    """A window whose side is uniform in 1 minus this .. 1 of the image's, anywhere inside, fills the image."""
    brightness: float = 0.0
    """Of the whole range of gray levels, up to this part is added or taken away."""
    contrast: float = 0.0
    """Distances from mid-gray are multiplied by a factor uniform in 1 plus or minus this."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.rotation_deg <= 180.0:
            raise InputError(f"rotation_deg = {self.rotation_deg}: must lie in 0..180")
        if not 0.0 <= self.flip_probability <= 1.0:
            raise InputError(f"flip_probability = {self.flip_probability}: must lie in 0..1")
        for name, most in MOST.items():
            if not 0.0 <= getattr(self, name) <= most:
                raise InputError(f"{name} = {getattr(self, name)}: must lie in 0..{most:g}")

    @property
    def ranges(self) -> tuple[float, ...]:
        """Angle, probability of a flip and, unless all of them are 0, the other ranges in the fields' order."""
        others = (self.scale, self.crop, self.brightness, self.contrast)
        return (self.rotation_deg, self.flip_probability, *(others if any(others) else ()))


def draw(seed: int, epoch: int, indices: npt.NDArray[np.integer], augment: Augment) -> Draws:
    """What becomes of the samples ``indices`` (B,), each a function of its index alone."""
    words = sample_words(stream_key(seed, epoch, Purpose.AUGMENTATION), indices)
    angle, flip, *others = augment.ranges
    angles = (2.0 * uniform(words) - 1.0) * angle
    words = mix(words)
    flips = uniform(words) < flip
    if not others:
        frames, tones = np.zeros((len(indices), 3)), np.zeros((len(indices), 2), np.int64)
        frames[:, 0], tones[:, 0] = 1.0, 1 << TONE_BITS
    else:
        drawn = []
        for _ in range(6):
            words = mix(words)
            drawn.append(uniform(words))
        frame, tone = frame_and_tone(drawn, *others)
        frames, tones = np.stack(frame, axis=1), np.rint(np.stack(tone, axis=1)).astype(np.int64)
    return angles.astype(np.float32), flips, frames, tones


def frame_and_tone(
    drawn: Sequence[Any], scale: Any, crop: Any, brightness: Any, contrast: Any
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any]]:
    """The columns of frames, and those of tones before they are rounded, of six uniform numbers in 0..1.

    ``drawn`` are arrays or tensors (B,) float64, for which the same numbers come out.
    """
    zoom, side = 1.0 + (2.0 * drawn[0] - 1.0) * scale, 1.0 - drawn[1] * crop
    right, below = (drawn[2] - 0.5) * (1.0 - side) / zoom, (drawn[3] - 0.5) * (1.0 - side) / zoom
    factor = 1.0 + (2.0 * drawn[5] - 1.0) * contrast
    summand = MID_GRAY * (1.0 - factor) + WHITE * ((2.0 * drawn[4] - 1.0) * brightness)
    return (side / zoom, right, below), (factor * (1 << TONE_BITS), summand * (1 << TONE_BITS))
