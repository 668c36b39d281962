"""An opened beton comes in; a reader of whole pages by sample index, whatever they are stored as, goes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from datasets.beton.mapped_file import MappedBytes, map_beton
from datasets.beton.reader import Beton


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
    return JpegPageSource(file, layout.offsets(num), layout.sizes(num), num_threads)


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

    def __init__(self, file: MappedBytes, offsets: np.ndarray, sizes: np.ndarray, num_threads: int) -> None:
        from datasets.loading.jpeg_pages import JpegPageDecoder

        self.file, self.offsets, self.sizes = file, offsets, sizes
        self._decoder = JpegPageDecoder(file.path, num_threads=num_threads)

    def read(self, samples: np.ndarray, out: np.ndarray) -> None:
        self.file.check()
        self._decoder.begin(self.file.data, samples, self.offsets[samples], self.sizes[samples], out)()
