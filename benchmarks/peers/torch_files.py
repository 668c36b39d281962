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

from benchmarks.common.data_loader import Files, endless
from benchmarks.common.pictures import MEAN, STD, Pictures


def batches(pictures: Pictures, *, form: Literal["png", "jpeg", "tensor"]) -> Iterator[Tensor]:
    """The original PNG files, made smaller on the way, or JPEG files of the final size as images or tensors."""
    if form == "png":
        return endless(Files(pictures.png, pillow_image(pictures, fit=True)), pictures)
    return endless(
        Files(pictures.jpeg, pillow_image(pictures) if form == "jpeg" else tensor_image(pictures)), pictures
    )


def pillow_image(pictures: Pictures, *, fit: bool = False, augment: bool = True) -> Callable[[str], Tensor]:
    """An image file as normalised (3, S, S) float32; ``fit`` makes it smaller first."""
    smaller = [transforms.Resize(pictures.size), transforms.CenterCrop(pictures.size)] if fit else []
    flip = transforms.RandomHorizontalFlip(pictures.flips)
    rotate = transforms.RandomRotation(pictures.angles, InterpolationMode.BILINEAR)
    to_input = [transforms.Grayscale(3), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    steps = [_open_gray, *smaller, *([flip, rotate] if augment else []), *to_input]
    composed: Callable[[str], Tensor] = transforms.Compose(steps)
    return composed


def _open_gray(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("L")


def tensor_image(pictures: Pictures) -> Callable[[str], Tensor]:
    """A JPEG file as augmented, normalised (3, S, S) float32, in gray uint8 tensors up to the last step."""
    decode = [read_file, partial(decode_jpeg, mode=ImageReadMode.GRAY)]
    flip = v2.RandomHorizontalFlip(pictures.flips)
    rotate = v2.RandomRotation(pictures.angles, InterpolationMode.BILINEAR)
    to_input = [v2.Grayscale(3), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    composed: Callable[[str], Tensor] = v2.Compose([*decode, flip, rotate, *to_input])
    return composed
