"""PyTorch's DataLoader with torchvision.io and transforms v2: gray uint8 tensors up to the last step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import InterpolationMode, v2

from benchmarks.common.pictures import FLIP_PROBABILITY, MEAN, ROTATION_DEG, STD, Pictures
from benchmarks.peers.data_loader import endless


class Tensors(Dataset[torch.Tensor]):
    """JPEG files as augmented, normalised (3, S, S) float32."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = list(paths)
        self.transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(FLIP_PROBABILITY),
                v2.RandomRotation(ROTATION_DEG, InterpolationMode.BILINEAR),
                v2.Grayscale(3),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        tensor: torch.Tensor = self.transform(decode_jpeg(read_file(self.paths[index]), ImageReadMode.GRAY))
        return tensor


def jpeg(pictures: Pictures) -> Iterator[int]:
    """JPEG files of the final size."""
    return endless(Tensors(pictures.jpeg), pictures)
