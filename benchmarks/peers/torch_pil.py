"""PyTorch's DataLoader with Pillow: the usual way, gray up to the last step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms

from benchmarks.common.pictures import FLIP_PROBABILITY, MEAN, ROTATION_DEG, STD, Pictures
from benchmarks.peers.data_loader import endless


class Files(Dataset[torch.Tensor]):
    """Image files as augmented, normalised (3, S, S) float32."""

    def __init__(self, paths: Sequence[str], size: int, *, resize: bool) -> None:
        self.paths = list(paths)
        fit = [transforms.Resize(size), transforms.CenterCrop(size)] if resize else []
        self.transform = transforms.Compose(
            [
                *fit,
                transforms.RandomHorizontalFlip(FLIP_PROBABILITY),
                transforms.RandomRotation(ROTATION_DEG, transforms.InterpolationMode.BILINEAR),
                transforms.Grayscale(3),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            tensor: torch.Tensor = self.transform(image.convert("L"))
        return tensor


def png(pictures: Pictures) -> Iterator[int]:
    """The original PNG files, made smaller on the way."""
    return endless(Files(pictures.png, pictures.size, resize=True), pictures)


def jpeg(pictures: Pictures) -> Iterator[int]:
    """JPEG files of the final size."""
    return endless(Files(pictures.jpeg, pictures.size, resize=False), pictures)
