"""Gray pages come in; batches as network input, float32 of three channels, go out.

For a CPU that feeds the network itself. Gray pixels are still in the processor's cache when they are spread over
three channels, and the memory of a float batch, 12 times that of its pages, is used again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from datasets.augment.counter_rng import Purpose, stream_key
from datasets.augment.network_input import scale_and_shift
from datasets.augment.policy import Augment
from datasets.augment.warp_cpu import normalise_batch, warp_and_normalise_batch
from datasets.kernels.batch_memory import BatchMemory
from datasets.kernels.shared_work import SharedWork, begin_to_share, unowned
from datasets.loading.ffcv.imports import Operation, State
from datasets.loading.ffcv.ops import Decode, EpochState, TrainPages

NUM_CHANNELS = 3
FLOAT32_BYTES = 4


class NetworkInputWriter:
    """Turns gray images (B, 1, S, S) uint8 into (B, 3, S, S) float32 in channels_last, as ``to_network_input`` does.

    The memory returns to the writer when the last holder of a batch has dropped it.
    """

    def __init__(self, *, num_threads: int, pin_memory: bool) -> None:
        self._num_threads = num_threads
        self._memory = BatchMemory(pin_memory=pin_memory)
        scale, shift = scale_and_shift(torch.device("cpu"))
        self._scale, self._shift = scale.flatten().numpy(), shift.flatten().numpy()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """The same images, normalised."""
        batch, _, height, width = images.shape
        block = self._take(batch, height, width)
        arguments = (unowned(images.numpy()), unowned(block.numpy()), self._scale, self._shift)
        owners, num_threads = (images, block), self._num_threads
        begin_to_share(normalise_batch, *arguments, count=batch, num_threads=num_threads, held=owners).finish()
        return block.permute(0, 3, 1, 2)

    def begin_to_warp(
        self, pages: np.ndarray, offsets: np.ndarray, samples: np.ndarray, size: int, key: np.uint64, augment: Augment
    ) -> tuple[torch.Tensor, SharedWork]:
        """The pages at ``offsets`` (B,), flipped and rotated as ``page_work.begin_to_warp`` does, and normalised."""
        block = self._take(len(samples), size, size)
        arguments = (unowned(pages), offsets, samples, unowned(block.numpy()), self._scale, self._shift, key)
        ranges = float(augment.rotation_deg), float(augment.flip_probability)
        work = begin_to_share(
            warp_and_normalise_batch,
            *arguments,
            *ranges,
            count=len(samples),
            num_threads=self._num_threads,
            held=(pages, block),
        )
        return block.permute(0, 3, 1, 2), work

    def _take(self, batch: int, height: int, width: int) -> torch.Tensor:
        return self._memory.take((batch, height, width, NUM_CHANNELS * FLOAT32_BYTES)).view(torch.float32)


class FloatOutput(Operation):  # type: ignore[misc]
    """Stands before any decoder of gray pages and hands out its batches as network input."""

    def __init__(self, gray: Operation, *, num_workers: int, pin_memory: bool) -> None:
        super().__init__()
        self._gray = gray
        self._to_input = NetworkInputWriter(num_threads=num_workers, pin_memory=pin_memory)

    def accept_field(self, field: Any) -> None:
        self._gray.accept_field(field)

    def accept_globals(self, metadata: Any, memory_read: Any) -> None:
        self._gray.accept_globals(metadata, memory_read)

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, Any]:
        declared: tuple[State, Any] = self._gray.declare_state_and_memory(previous_state)
        return declared

    def generate_code(self) -> Decode:
        decode_gray: Decode = self._gray.generate_code()

        def decode(indices: np.ndarray, memory: None, metadata: np.ndarray, state: EpochState) -> torch.Tensor:
            gray = decode_gray(indices, memory, metadata, state)
            state.finish()
            return self._to_input(gray)

        return decode


class TrainInputs(TrainPages):
    """The train preset as network input, for raw pages."""

    def __init__(self, image_size: int, augment: Augment, seed: int, *, num_workers: int, pin_memory: bool) -> None:
        super().__init__(image_size, augment, seed, num_workers=num_workers, pin_memory=pin_memory)
        self._to_input = NetworkInputWriter(num_threads=num_workers, pin_memory=pin_memory)

    def generate_code(self) -> Decode:
        def decode(indices: np.ndarray, _memory: None, metadata: np.ndarray, state: EpochState) -> torch.Tensor:
            key = np.uint64(stream_key(self.seed, state.epoch, Purpose.AUGMENTATION))
            size, offsets = self.shape[-1], metadata[indices]
            images, work = self._to_input.begin_to_warp(state.pages, offsets, indices, size, key, self.augment)
            state.under_way.append(work.finish)
            return images

        return decode
