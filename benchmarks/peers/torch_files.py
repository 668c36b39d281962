"""PyTorch's DataLoader on files: with Pillow, or with torchvision.io and transforms v2; gray up to the last step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

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
        return endless(Files(pictures.png, pillow_image(pictures.size)), pictures)
    return endless(Files(pictures.jpeg, pillow_image() if form == "jpeg" else tensor_image()), pictures)


def pillow_image(size: int | None = None, *, augment: bool = True) -> Callable[[str], Tensor]:
    """An image file as normalised (3, S, S) float32; ``size`` makes it smaller first."""
    fit = [transforms.Resize(size), transforms.CenterCrop(size)] if size is not None else []
    flip = transforms.RandomHorizontalFlip(FLIP_PROBABILITY)
    rotate = transforms.RandomRotation(ROTATION_DEG, InterpolationMode.BILINEAR)
    to_input = [transforms.Grayscale(3), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    steps = [_open_gray, *fit, *([flip, rotate] if augment else []), *to_input]
    composed: Callable[[str], Tensor] = transforms.Compose(steps)
    return composed


def _open_gray(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("L")


def tensor_image() -> Callable[[str], Tensor]:
    """A JPEG file as augmented, normalised (3, S, S) float32, in gray uint8 tensors up to the last step."""
    decode = [read_file, partial(decode_jpeg, mode=ImageReadMode.GRAY)]
    flip = v2.RandomHorizontalFlip(FLIP_PROBABILITY)
    rotate = v2.RandomRotation(ROTATION_DEG, InterpolationMode.BILINEAR)
    to_input = [v2.Grayscale(3), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    composed: Callable[[str], Tensor] = v2.Compose([*decode, flip, rotate, *to_input])
    return composed
