"""How a batch of JPEG pages is decoded, as an FFCV operation: sample indices come in, tensors go out.

Decoded pages lie in memory that is used again; flip and rotation read them there by the kernel that reads raw pages
from the file, so both kinds of betons are augmented alike.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from datasets.augment.counter_rng import Purpose, stream_key
from datasets.augment.policy import Augment
from datasets.errors import InputError
from datasets.images.by_hand.gray_jpeg import DamagedJpegError, GrayJpegs
from datasets.kernels.batch_memory import BatchMemory
from datasets.kernels.shared_work import SharedWork
from datasets.kernels.threads import num_loader_threads
from datasets.loading.ffcv.ops import BatchDecoder, Decode, DecodeList, EpochState
from datasets.loading.page_ops import begin_to_warp


class JpegPages(BatchDecoder):
    """Images (B, 1, S, S) uint8, flipped and rotated as (seed, epoch, sample index) decide, or as stored."""

    def __init__(
        self, path: Path, image_size: int, *, augment: Augment | None, seed: int, num_workers: int, pin_memory: bool
    ) -> None:
        super().__init__(pin_memory=pin_memory)
        self.path = path
        self.image_size = image_size
        self.augment = augment
        self.seed = seed
        self.num_workers = num_loader_threads(num_workers)
        self.decoded = BatchMemory(pin_memory=False)
        self._jpegs: GrayJpegs | None = None

    def generate_code(self) -> Decode:
        def decode(indices: np.ndarray, _memory: None, metadata: np.ndarray, state: EpochState) -> torch.Tensor:
            shape = (len(indices), 1, self.image_size, self.image_size)
            if self.augment is None:
                images = self.memory.take(shape)
                state.under_way.append(self._begin_to_decode(state.pages, metadata, indices, images.numpy()))
                return images
            pages = self.decoded.take(shape)
            self._begin_to_decode(state.pages, metadata, indices, pages.numpy())()
            images = self.memory.take(shape)
            state.under_way.append(self._begin_to_warp(pages, indices, state.epoch, self.augment, images).finish)
            return images

        return decode

    def _begin_to_decode(
        self, data: np.ndarray, metadata: np.ndarray, indices: np.ndarray, out: np.ndarray
    ) -> Callable[[], None]:
        if self._jpegs is None:
            begin, size = int(metadata["ptr"][0]), int(metadata["size"][0])
            first = data[begin : begin + size].tobytes()
            self._jpegs = GrayJpegs(first, self.image_size, num_threads=self.num_workers)
        rows = metadata[indices]
        pointers, sizes = np.ascontiguousarray(rows["ptr"]), np.ascontiguousarray(rows["size"])
        work = self._jpegs.begin(data, pointers, sizes, out)

        def finish() -> None:
            try:
                work()
            except DamagedJpegError as error:
                sample = int(indices[error.position])
                raise InputError(f"{self.path}: image {sample} is damaged ({error}); convert again") from error

        return finish

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
