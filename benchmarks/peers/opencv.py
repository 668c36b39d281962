"""PyTorch's DataLoader written with care: gray decode and one warp in OpenCV, floats only at the very end.

Two ways, since neither wins everywhere: samples that PyTorch stacks, which it does straight into shared memory; and
whole batches written by one call of ``__getitems__`` into shared memory of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from benchmarks.common.pictures import Pictures
from benchmarks.peers.data_loader import endless
from benchmarks.peers.pixels import augmented, fill_float_batch, float_sample, read, start_worker


class Samples(Dataset[torch.Tensor]):
    """Each sample as a tensor, (3, S, S) float32 or (1, S, S) uint8."""

    def __init__(self, paths: Sequence[str], size: int, *, floats: bool) -> None:
        self.paths, self.size, self.floats = list(paths), size, floats

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        data = read(self.paths[index])
        return float_sample(data, self.size) if self.floats else torch.from_numpy(augmented(data, self.size))[None]


class Batches(Samples):
    """Whole batches at once: (B, 3, S, S) float32 or (B, 1, S, S) uint8."""

    def __getitems__(self, indices: list[int]) -> torch.Tensor:
        """The batch; the DataLoader's collate function has nothing left to do."""
        paths = [self.paths[index] for index in indices]
        if self.floats:
            batch = shared_tensor((len(paths), 3, self.size, self.size), torch.float32)
            fill_float_batch(paths, batch.numpy())
            return batch
        batch = shared_tensor((len(paths), 1, self.size, self.size), torch.uint8)
        for path, page in zip(paths, batch.numpy(), strict=True):
            augmented(read(path), self.size, out=page[0])
        return batch


def shared_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A tensor in shared memory, as PyTorch's default collate function makes it; it goes to the consumer uncopied."""
    empty = torch.empty(0, dtype=dtype)
    storage = empty._typed_storage()._new_shared(math.prod(shape), device="cpu")  # type: ignore[no-untyped-call]
    return empty.new(storage).resize_(shape)


def as_it_is(batch: Any) -> Any:
    """The collate function of whole batches."""
    return batch


def float32_samples(pictures: Pictures) -> Iterator[int]:
    """Float samples, stacked by PyTorch."""
    return endless(Samples(pictures.jpeg, pictures.size, floats=True), pictures, start_worker=start_worker)


def float32_batches(pictures: Pictures) -> Iterator[int]:
    """Whole float batches."""
    dataset = Batches(pictures.jpeg, pictures.size, floats=True)
    return endless(dataset, pictures, collate=as_it_is, start_worker=start_worker)


def uint8_samples(pictures: Pictures) -> Iterator[int]:
    """Gray uint8 samples, stacked by PyTorch."""
    return endless(Samples(pictures.jpeg, pictures.size, floats=False), pictures, start_worker=start_worker)


def uint8_batches(pictures: Pictures) -> Iterator[int]:
    """Whole gray uint8 batches."""
    dataset = Batches(pictures.jpeg, pictures.size, floats=False)
    return endless(dataset, pictures, collate=as_it_is, start_worker=start_worker)
