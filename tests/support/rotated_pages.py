"""Pages that the device's arithmetic has mirrored and rotated, before they are normalised."""

from __future__ import annotations

from torch import Tensor

from datasets.augment.policy import Augment
from datasets.augment.warp_device import _stream, _warp, draw_on_device


def augmented_pages(images: Tensor, indices: Tensor, *, seed: int, epoch: int, augment: Augment) -> Tensor:
    """Images (B, 1, S, S) uint8 mirrored and rotated, still uint8; not compiled."""
    angles, flips = draw_on_device(indices, *_stream(seed, epoch, augment, images.device))
    return _warp(images, angles, flips)[:, None]
