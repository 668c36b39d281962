"""PyTorch's DataLoader on files: with Pillow, or with torchvision.io and transforms v2; gray up to the last step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import InterpolationMode, v2

from benchmarks.common.pictures import FLIP_PROBABILITY, MEAN, ROTATION_DEG, STD, Pictures
from benchmarks.peers.data_loader import Files, endless


def batches(pictures: Pictures, *, form: Literal["png", "jpeg", "tensor"]) -> Iterator[int]:
    """The original PNG files, made smaller on the way, or JPEG files of the final size as images or tensors."""
    if form == "png":
        return endless(Files(pictures.png, PillowImage(pictures.size)), pictures)
    return endless(Files(pictures.jpeg, PillowImage() if form == "jpeg" else TensorImage()), pictures)


class PillowImage:
    """An image file as normalised (3, S, S) float32; ``size`` makes it smaller first."""

    def __init__(self, size: int | None = None, *, augment: bool = True) -> None:
        fit = [transforms.Resize(size), transforms.CenterCrop(size)] if size is not None else []
        flip = transforms.RandomHorizontalFlip(FLIP_PROBABILITY)
        rotate = transforms.RandomRotation(ROTATION_DEG, InterpolationMode.BILINEAR)
        to_input = [transforms.Grayscale(3), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        self.transform: Any = transforms.Compose([*fit, *([flip, rotate] if augment else []), *to_input])

    def __call__(self, path: str) -> Tensor:
        with Image.open(path) as image:
            tensor: Tensor = self.transform(image.convert("L"))
        return tensor


class TensorImage:
    """A JPEG file as augmented, normalised (3, S, S) float32, in gray uint8 tensors up to the last step."""

    def __init__(self) -> None:
        flip = v2.RandomHorizontalFlip(FLIP_PROBABILITY)
        rotate = v2.RandomRotation(ROTATION_DEG, InterpolationMode.BILINEAR)
        to_input = [v2.Grayscale(3), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        self.transform: Any = v2.Compose([flip, rotate, *to_input])

    def __call__(self, path: str) -> Tensor:
        tensor: Tensor = self.transform(decode_jpeg(read_file(path), ImageReadMode.GRAY))
        return tensor
