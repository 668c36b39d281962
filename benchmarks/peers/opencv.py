"""PyTorch's DataLoader written with care: gray decode and one warp in OpenCV, floats only at the very end.

Two ways, since neither wins everywhere: samples that PyTorch stacks, which it does straight into shared memory; and
whole batches written by one call of ``__getitems__`` into shared memory of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.common.pictures import Pictures
from benchmarks.peers.data_loader import Files, endless
from benchmarks.peers.pixels import augmented, fill_float_batch, float_sample, read, start_worker

Output = Literal["float32", "uint8"]


def batches(pictures: Pictures, *, output: Output, by: Literal["sample", "batch"]) -> Iterator[int]:
    """Network input, or gray uint8; stacked by PyTorch, or made whole."""
    if by == "sample":
        dataset, more = Files(pictures.jpeg, sample_of(output, pictures.size)), {}
    else:
        dataset, more = Batches(pictures, output), {"collate_fn": as_it_is}
    return endless(dataset, pictures, worker_init_fn=start_worker, **more)


def sample_of(output: Output, size: int) -> Callable[[str], Tensor]:
    """What makes a JPEG file a tensor, augmented: (3, S, S) float32 or (1, S, S) uint8."""
    return partial(_float_sample if output == "float32" else _gray_sample, size)


def _float_sample(size: int, path: str) -> Tensor:
    return float_sample(read(path), size)


def _gray_sample(size: int, path: str) -> Tensor:
    return torch.from_numpy(augmented(read(path), size))[None]


class Batches(Files):
    """Whole batches at once: (B, 3, S, S) float32 or (B, 1, S, S) uint8."""

    def __init__(self, pictures: Pictures, output: Output) -> None:
        super().__init__(pictures.jpeg, sample_of(output, pictures.size))
        self.size, self.output = pictures.size, output

    def __getitems__(self, indices: list[int]) -> Tensor:
        """The batch; the DataLoader's collate function has nothing left to do."""
        paths = [self.paths[index] for index in indices]
        if self.output == "float32":
            batch = shared_tensor((len(paths), 3, self.size, self.size), torch.float32)
            fill_float_batch(paths, batch.numpy())
            return batch
        batch = shared_tensor((len(paths), 1, self.size, self.size), torch.uint8)
        for path, page in zip(paths, batch.numpy(), strict=True):
            augmented(read(path), self.size, out=page[0])
        return batch


def shared_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor in shared memory, as PyTorch's default collate function makes it; it goes to the consumer uncopied."""
    empty = torch.empty(0, dtype=dtype)
    storage = empty._typed_storage()._new_shared(math.prod(shape), device="cpu")  # type: ignore[no-untyped-call]
    return empty.new(storage).resize_(shape)


def as_it_is(batch: Any) -> Any:
    """The collate function of whole batches."""
    return batch
