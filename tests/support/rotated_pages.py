"""Pages that the CPU's kernel or the device's arithmetic has mirrored and rotated, before they are normalised."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from datasets.augment.policy import TONE_BITS, Augment
from datasets.augment.warp_cpu import warp_batch
from datasets.augment.warp_device import _stream, _warp, draw_on_device


def augmented_pages(images: Tensor, indices: Tensor, *, seed: int, epoch: int, augment: Augment) -> Tensor:
    """Images (B, 1, S, S) uint8 augmented, still uint8; not compiled."""
    draws = draw_on_device(indices, *_stream(seed, epoch, augment, images.device))
    return _warp(images, *draws)[:, None]


def warp_page(page: np.ndarray, out: np.ndarray, angle_deg: float, flip: bool) -> None:
    """Mirror, then rotate clockwise one page (S*S,) uint8 into ``out`` (S, S)."""
    pages = np.frombuffer(page.tobytes(), dtype=np.uint8)  # read-only, as a mapped file is
    angles, flips = np.array([angle_deg], dtype=np.float32), np.array([flip])
    frames, tones = np.array([[1.0, 0.0, 0.0]]), np.array([[1 << TONE_BITS, 0]])
    warp_batch(pages, np.zeros(1, dtype=np.uint64), (angles, flips, frames, tones), out.reshape(1, 1, *out.shape))
