"""A decoder of gray batches comes in; the same batches as network input, float32 of three channels, go out.

For a CPU that feeds the network itself. The gray batch is still in the processor's cache when it is spread over three
channels, and the memory of a float batch, 12 times that of its pages, is used again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from datasets.addresses import add_atomically
from datasets.batch_memory import BatchMemory
from datasets.ffcv_ops import Decode, EpochState
from datasets.ffcv_parts import Operation, State
from datasets.network_input import scale_and_shift
from datasets.shared_work import CACHE_LINE, share, unowned
from datasets.threads import inlined_kernel

NUM_CHANNELS = 3
FLOAT32_BYTES = 4

Array = Any


@inlined_kernel
def normalise_batch(images: Array, out: Array, scale: Array, shift: Array, tasks: Array) -> None:
    """Write ``scale * pixel + shift`` of gray images (B, 1, S, S) uint8 to ``out`` (B, S, S, 3) float32.

    ``tasks`` is what ``shared_work.new_tasks`` makes.
    """
    num_pixels = images.shape[2] * images.shape[3]
    gray, channels = images.reshape(images.shape[0], num_pixels), out.reshape(out.shape[0], num_pixels * 3)
    scale_0, scale_1, scale_2 = scale[0], scale[1], scale[2]
    shift_0, shift_1, shift_2 = shift[0], shift[1], shift[2]
    next_task = np.int64(tasks.ctypes.data)
    b = add_atomically(next_task, 1)
    while b < gray.shape[0]:
        source, target = gray[b], channels[b]
        for i in range(num_pixels):
            value = np.float32(source[i])
            target[3 * i] = value * scale_0 + shift_0
            target[3 * i + 1] = value * scale_1 + shift_1
            target[3 * i + 2] = value * scale_2 + shift_2
        add_atomically(next_task + 8 * CACHE_LINE, 1)
        b = add_atomically(next_task, 1)


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
        block = self._memory.take((batch, height, width, NUM_CHANNELS * FLOAT32_BYTES)).view(torch.float32)
        arguments = (unowned(images.numpy()), unowned(block.numpy()), self._scale, self._shift)
        share(normalise_batch, *arguments, count=batch, num_threads=self._num_threads, held=(images, block))
        return block.permute(0, 3, 1, 2)


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
            return self._to_input(decode_gray(indices, memory, metadata, state))

        return decode
