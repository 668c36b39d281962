"""An opened beton comes in; a reader of whole pages by sample index, whatever they are stored as, goes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from datasets.beton.mapped_file import MappedBytes, map_beton
from datasets.beton.reader import Beton
from datasets.errors import InputError


class PageSource(Protocol):
    """Reads pages into memory that is given."""

    def read(self, samples: np.ndarray, out: np.ndarray) -> None:
        """Write the pages of ``samples`` (B,) to ``out`` (B, 1, S, S) uint8.

        Raises:
            InputError: if the file was cut short, or a page in it is damaged.
        """


def open_pages(beton: Beton, num_threads: int) -> PageSource:
    """The reader for what the beton's pages are stored as, which copies or decodes with ``num_threads`` threads."""
    file, layout, num = map_beton(beton), beton.final_layout, beton.num_samples
    if beton.encoding == "raw":
        return RawPages(file, layout.offsets(num), num_threads)
    return JpegPageSource(file, layout.offsets(num), layout.sizes(num), beton.image_size, num_threads)


@dataclass(frozen=True, eq=False)
class RawPages:
    """Pages stored as they are."""

    file: MappedBytes
    offsets: np.ndarray
    """(N,) uint64, of every page of the file."""
    num_threads: int

    def read(self, samples: np.ndarray, out: np.ndarray) -> None:
        from datasets.loading.page_ops import copy_pages

        self.file.check()
        copy_pages(self.file.data, self.offsets[samples], torch.from_numpy(out), num_threads=self.num_threads)


class JpegPageSource:
    """Pages stored as JPEGs."""

    def __init__(
        self, file: MappedBytes, offsets: np.ndarray, sizes: np.ndarray, side: int, num_threads: int
    ) -> None:
        from datasets.images.by_hand.gray_jpeg import GrayJpegs

        self.file, self.offsets, self.sizes = file, offsets, sizes
        first = file.data[int(offsets[0]) : int(offsets[0] + sizes[0])].tobytes()
        self._jpegs = GrayJpegs(first, side, num_threads=num_threads)

    def read(self, samples: np.ndarray, out: np.ndarray) -> None:
        from datasets.images.by_hand.gray_jpeg import DamagedJpegError

        self.file.check()
        try:
            self._jpegs.decode(self.file.data, self.offsets[samples], self.sizes[samples], out)
        except DamagedJpegError as error:
            sample = int(samples[error.position])
            raise InputError(f"{self.file.path}: image {sample} is damaged ({error}); convert again") from error
