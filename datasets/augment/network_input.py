"""Normalise gray uint8 images to three-channel network input."""

from __future__ import annotations

from functools import cache

import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation per channel of images in 0..1, as torchvision's ImageNet weights expect."""


@cache
def scale_and_shift(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and shift (1, 3, 1, 1) from 0..255 to normalised values, kept on the device for all steps."""
    with torch.inference_mode(False):
        mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64)
        std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
        scale, shift = 1.0 / (255.0 * std), -mean / std
        return tuple(values.float().view(1, 3, 1, 1).to(device) for values in (scale, shift))  # type: ignore[return-value]


def to_network_input(images: torch.Tensor) -> torch.Tensor:
    """Convert images (B, 1, S, S) uint8 to (B, 3, S, S) float32 in channels_last, on the same device.

    Equal to torchvision's ``Normalize`` with ImageNet's mean and std on three copies of the gray channel in 0..1, up
    to float32 rounding. Product and sum are rounded one by one, as in the CPU's kernel, which so makes the same bits.
    """
    checked_images(images)
    scale, shift = scale_and_shift(images.device)
    batch, _, height, width = images.shape
    result = torch.empty(
        (batch, 3, height, width), dtype=torch.float32, device=images.device, memory_format=torch.channels_last
    )
    torch.mul(images.float(), scale, out=result)
    return result.add_(shift)


def checked_images(images: torch.Tensor) -> torch.Tensor:
    """Return the images themselves, if they are a batch as a loader yields it.

    Raises:
        ValueError: unless they are (B, 1, S, S) uint8.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"expected uint8 images (B, 1, S, S), got {images.dtype} {tuple(images.shape)}")
    return images
