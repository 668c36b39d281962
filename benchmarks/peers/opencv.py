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

from benchmarks.common.data_loader import Files, endless
from benchmarks.common.pictures import Pictures
from benchmarks.common.pixels import decoded, float_sample, normalise, read, start_worker, warped

Output = Literal["float32", "uint8"]


def batches(pictures: Pictures, *, output: Output, by: Literal["sample", "batch"]) -> Iterator[Tensor]:
    """Network input, or gray uint8; stacked by PyTorch, or made whole."""
    if by == "sample":
        dataset, more = Files(pictures.jpeg, sample_of(output, pictures)), {}
    else:
        dataset, more = Batches(pictures, output), {"collate_fn": as_it_is}
    return endless(dataset, pictures, worker_init_fn=start_worker, **more)


def sample_of(output: Output, pictures: Pictures) -> Callable[[str], Tensor]:
    """What makes a JPEG file a tensor, augmented: (3, S, S) float32 or (1, S, S) uint8."""
    return partial(_float_sample if output == "float32" else _gray_sample, pictures)


def _float_sample(pictures: Pictures, path: str) -> Tensor:
    return float_sample(read(path), pictures)


def _gray_sample(pictures: Pictures, path: str) -> Tensor:
    return torch.from_numpy(warped(decoded(read(path)), pictures))[None]


class Batches(Files):
    """Whole batches at once: (B, 3, S, S) float32 or (B, 1, S, S) uint8."""

    def __init__(self, pictures: Pictures, output: Output) -> None:
        super().__init__(pictures.jpeg, sample_of(output, pictures))
        self.pictures, self.output = pictures, output

    def __getitems__(self, indices: list[int]) -> Tensor:
        """The batch; the DataLoader's collate function has nothing left to do."""
        paths = [self.paths[index] for index in indices]
        channels, dtype = (3, torch.float32) if self.output == "float32" else (1, torch.uint8)
        batch = shared_tensor((len(paths), channels, self.pictures.size, self.pictures.size), dtype)
        for path, image in zip(paths, batch.numpy(), strict=True):
            if self.output == "float32":
                normalise(warped(decoded(read(path)), self.pictures), image)
            else:
                warped(decoded(read(path)), self.pictures, out=image[0])
        return batch


def shared_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor in shared memory, as PyTorch's default collate function makes it; it goes to the consumer uncopied."""
    empty = torch.empty(0, dtype=dtype)
    storage = empty._typed_storage()._new_shared(math.prod(shape), device="cpu")  # type: ignore[no-untyped-call]
    return empty.new(storage).resize_(shape)


def as_it_is(batch: Any) -> Any:
    """The collate function of whole batches."""
    return batch
