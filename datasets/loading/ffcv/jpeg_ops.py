"""FFCV operations that decode batches of JPEG pages, or hand out the JPEGs for a device to decode.

Decoded pages are flipped and rotated by the kernel that reads raw pages from the file, so both kinds of betons are
augmented alike.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from datasets.augment.counter_rng import Purpose, stream_key
from datasets.augment.policy import Augment
from datasets.kernels.batch_memory import BatchMemory
from datasets.kernels.shared_work import SharedWork
from datasets.kernels.threads import num_loader_threads
from datasets.loading.ffcv.ops import BatchDecoder, Decode, DecodeList, EpochState
from datasets.loading.jpeg_pages import JpegPageDecoder
from datasets.loading.page_ops import begin_to_warp


class JpegPages(BatchDecoder):
    """Images (B, 1, S, S) uint8, flipped and rotated as (seed, epoch, sample index) decide, or as stored."""

    def __init__(
        self, path: Path, image_size: int, *, augment: Augment | None, seed: int, num_workers: int, pin_memory: bool
    ) -> None:
        super().__init__(pin_memory=pin_memory)
        self.image_size = image_size
        self.augment = augment
        self.seed = seed
        self.num_workers = num_loader_threads(num_workers)
        self.decoded = BatchMemory(pin_memory=False)
        self.decoder = JpegPageDecoder(path, num_threads=self.num_workers)

    def generate_code(self) -> Decode:
        def decode(indices: np.ndarray, _memory: None, metadata: np.ndarray, state: EpochState) -> torch.Tensor:
            shape = (len(indices), 1, self.image_size, self.image_size)
            pages = (self.memory if self.augment is None else self.decoded).take(shape)
            rows = metadata[indices]
            finish = self.decoder.begin(state.pages, indices, rows["ptr"], rows["size"], pages.numpy())
            if self.augment is None:
                state.under_way.append(finish)
                return pages
            finish()
            images = self.memory.take(shape)
            state.under_way.append(self._begin_to_warp(pages, indices, state.epoch, self.augment, images).finish)
            return images

        return decode

    def _begin_to_warp(
        self, pages: torch.Tensor, indices: np.ndarray, epoch: int, augment: Augment, out: torch.Tensor
    ) -> SharedWork:
        flat = pages.view(-1).numpy()
        flat.flags.writeable = False  # the kernel is compiled for pages that cannot be written, as the file's
        places = np.arange(len(indices), dtype=np.uint64) * np.uint64(self.image_size**2)
        key = np.uint64(stream_key(self.seed, epoch, Purpose.AUGMENTATION))
        return begin_to_warp(flat, places, indices, out, key, augment, num_threads=self.num_workers)


class JpegBytes(BatchDecoder):
    """The JPEGs themselves, for a device that decodes them: a list of uint8 tensors."""

    def generate_code(self) -> DecodeList:
        def decode(indices: np.ndarray, _memory: None, metadata: np.ndarray, state: EpochState) -> list[torch.Tensor]:
            places = metadata[indices].tolist()
            return [torch.from_numpy(state.pages[begin : begin + size].copy()) for begin, size in places]

        return decode
