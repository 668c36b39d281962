"""How a batch is decoded, as FFCV operations: sample indices come in, tensors of the batch's own memory go out.

FFCV hands out views into a small ring of buffers that it writes again; these decoders write each batch into memory
that is its own (``datasets.kernels.batch_memory``), which costs less than a copy out of the ring and may be
kept for as long as wanted. With CUDA the memory is page-locked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from datasets.augment.counter_rng import Purpose, stream_key
from datasets.augment.policy import Augment
from datasets.kernels.batch_memory import BatchMemory
from datasets.loading.ffcv.imports import Operation, State
from datasets.loading.page_ops import begin_to_warp, copy_pages

Decode = Callable[[np.ndarray, None, np.ndarray, "EpochState"], torch.Tensor]
DecodeList = Callable[[np.ndarray, None, np.ndarray, "EpochState"], list[torch.Tensor]]


@dataclass(frozen=True)
class EpochState:
    """What decoders of one epoch read: FFCV's storage state in this project."""

    pages: np.ndarray
    """The whole file as uint8, mapped read-only."""
    epoch: int
    """Number of the epoch, which decides the augmentation."""
    under_way: list[Callable[[], None]] = field(default_factory=list)
    """What has to be called before the pixels of the batches decoded so far may be looked at."""

    def finish(self) -> None:
        """Have it all done.

        Raises:
            InputError: for a damaged sample.
        """
        while self.under_way:
            self.under_way.pop(0)()


class BatchDecoder(Operation):  # type: ignore[misc]
    """Base of decoders that allocate for themselves, so that FFCV keeps no buffers for them."""

    def __init__(self, *, pin_memory: bool) -> None:
        super().__init__()
        self.pin_memory = pin_memory
        self.memory = BatchMemory(pin_memory=pin_memory)

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, None]:
        return replace(previous_state, jit_mode=False), None


class MetadataDecoder(BatchDecoder):
    """Fields that live in the metadata, as they are: labels (B, L) uint8 or sample indices (B,) int64."""

    def generate_code(self) -> Decode:
        def decode(indices: np.ndarray, _memory: None, metadata: np.ndarray, _state: EpochState) -> torch.Tensor:
            values = torch.from_numpy(metadata[indices])
            return values.pin_memory() if self.pin_memory else values

        return decode


class EvalPages(BatchDecoder):
    """The eval preset: images (B, 1, S, S) uint8 as they are stored."""

    def __init__(self, image_size: int, *, num_workers: int, pin_memory: bool) -> None:
        super().__init__(pin_memory=pin_memory)
        self.shape = (1, image_size, image_size)
        self.num_workers = num_workers

    def generate_code(self) -> Decode:
        def decode(indices: np.ndarray, _memory: None, metadata: np.ndarray, state: EpochState) -> torch.Tensor:
            images = self.memory.take((len(indices), *self.shape))
            copy_pages(state.pages, metadata[indices], images, num_threads=self.num_workers)
            return images

        return decode


class TrainPages(BatchDecoder):
    """The train preset: images (B, 1, S, S) uint8, flipped and rotated as (seed, epoch, sample index) decide."""

    def __init__(self, image_size: int, augment: Augment, seed: int, *, num_workers: int, pin_memory: bool) -> None:
        super().__init__(pin_memory=pin_memory)
        self.shape = (1, image_size, image_size)
        self.augment = augment
        self.seed = seed
        self.num_workers = num_workers

    def generate_code(self) -> Decode:
        def decode(indices: np.ndarray, _memory: None, metadata: np.ndarray, state: EpochState) -> torch.Tensor:
            images = self.memory.take((len(indices), *self.shape))
            key = np.uint64(stream_key(self.seed, state.epoch, Purpose.AUGMENTATION))
            pages, augment, num_threads = state.pages, self.augment, self.num_workers
            work = begin_to_warp(pages, metadata[indices], indices, images, key, augment, num_threads=num_threads)
            state.under_way.append(work.finish)
            return images

        return decode
