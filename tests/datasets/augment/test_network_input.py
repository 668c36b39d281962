"""Normalisation to the network's input against torchvision's."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import Normalize

from datasets.augment.network_input import IMAGENET_MEAN, IMAGENET_STD, to_network_input


def test_equals_torchvision_s_normalize_on_three_equal_channels() -> None:
    images = torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8)
    expected = Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD))(images.float().div(255).expand(-1, 3, -1, -1))
    found = to_network_input(images)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_every_gray_level_of_one_pixel() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    found = to_network_input(levels)
    assert found.shape == (256, 3, 1, 1)
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    expected = (torch.arange(256)[:, None] / 255 - mean) / std
    torch.testing.assert_close(found[:, :, 0, 0], expected, rtol=0, atol=1e-6)


def test_constants_made_in_inference_mode_serve_training_too() -> None:
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with torch.inference_mode():
        to_network_input(images)
    layer = torch.nn.Conv2d(3, 1, 1)
    layer(to_network_input(images)).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 1, 4, 4)])
def test_other_inputs_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected uint8 images"):
        to_network_input(images)
