"""Make batches of pages with several threads: copied or augmented, as uint8 or as network input."""

from __future__ import annotations

from concurrent.futures import Future, wait
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from datasets.augment.network_input import scale_and_shift
from datasets.augment.policy import Draws, draw
from datasets.augment.warp_cpu import normalise_batch, warp_and_normalise_batch, warp_batch
from datasets.beton.pages import PageSource, check_inside
from datasets.loading.balance import samples_of
from datasets.loading.buffers import BufferPool
from datasets.loading.options import LoaderOptions
from datasets.loading.threads import loader_pool

CHUNKS_PER_THREAD = 2
"""Parts of a batch for each thread, so that one that starts late does not hold the batch up."""
NUM_CHANNELS, FLOAT32_BYTES = 3, 4


@dataclass(frozen=True)
class PendingBatch:
    """Images that threads are still writing."""

    images: torch.Tensor
    futures: list[Future[None]]

    def result(self) -> torch.Tensor:
        """Wait for the images.

        Raises:
            InputError: if a page is damaged, or the file was cut short.
        """
        for future in self.futures:
            future.result()
        return self.images

    def drain(self) -> None:
        """Wait until no thread writes any more, whatever came of it."""
        wait(self.futures)


def _part(drawn: Draws, part: slice) -> Draws:
    angles, flips, frames, tones = drawn
    return angles[part], flips[part], frames[part], tones[part]


class BatchWriter:
    """Writes the images of batches, each into memory of its own, with ``num_threads`` threads.

    Images are (B, 1, S, S) uint8, or with ``options.output`` "float32" (B, 3, S, S) float32 in channels_last, equal
    to ``to_network_input`` of them. Unless that is left to the device, they are flipped and rotated as (seed, epoch,
    sample) decide.
    """

    def __init__(
        self,
        image_size: int,
        options: LoaderOptions,
        *,
        num_threads: int,
        pin_memory: bool,
    ) -> None:
        self.image_size, self.num_threads = image_size, num_threads
        self.seed, self.augment = options.seed, None if options.augment_on == "device" else options.augment
        self.as_input = options.output == "float32"
        self.buffers = BufferPool(pin_memory=pin_memory)
        scale, shift = scale_and_shift(torch.device("cpu"))
        self._constants = scale.view(-1).numpy(), shift.view(-1).numpy()

    def submit(self, source: PageSource, samples: np.ndarray, epoch: int) -> PendingBatch:
        """Start writing the images of ``samples`` (B,), which may be draw numbers."""
        images, memory = self._empty(len(samples))
        drawn = None if self.augment is None else draw(self.seed, epoch, samples, self.augment)
        samples = samples_of(samples)
        pool = loader_pool(self.num_threads)
        num_chunks = min(len(samples), self.num_threads * CHUNKS_PER_THREAD if self.num_threads > 1 else 1)
        ends = [len(samples) * k // num_chunks for k in range(num_chunks + 1)]

        def write(part: slice) -> None:
            if drawn is None and not self.as_input:
                source.copy_to(samples[part], memory[part])
                return
            pages, offsets = source.read(samples[part])
            self._write(pages, offsets, memory[part], None if drawn is None else _part(drawn, part))

        parts = [slice(first, last) for first, last in pairwise(ends)]
        return PendingBatch(images, [pool.submit(write, part) for part in parts])

    def _empty(self, count: int) -> tuple[torch.Tensor, np.ndarray]:
        """Memory for ``count`` images, as it is given out and as kernels write it."""
        size = self.image_size
        if not self.as_input:
            images = self.buffers.take((count, 1, size, size))
            return images, images.numpy()
        taken = self.buffers.take((count, size, size, NUM_CHANNELS * FLOAT32_BYTES)).view(torch.float32)
        return taken.permute(0, 3, 1, 2), taken.numpy()

    def _write(self, pages: np.ndarray, offsets: np.ndarray, out: np.ndarray, drawn: Draws | None) -> None:
        # ``drawn`` and ``out`` have the offsets' length by construction.
        check_inside(pages, offsets, self.image_size)
        if drawn is None:
            normalise_batch(pages, offsets, out, *self._constants)
        elif self.as_input:
            warp_and_normalise_batch(pages, offsets, drawn, out, *self._constants)
        else:
            warp_batch(pages, offsets, drawn, out)
