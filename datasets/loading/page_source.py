"""Read whole pages of a beton by sample index, whatever they are stored as."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from datasets.augment.warp_cpu import copy_batch
from datasets.beton.mapped_file import MappedBytes, map_beton
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.images import ImageError
from datasets.images.jpeg import decode_page


class PageSource(ABC):
    """Reads pages of S*S gray pixels; safe to use from several threads."""

    @abstractmethod
    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return read-only bytes (uint8) and the offsets (B,) uint64 of the pages of ``samples`` (B,) in them.

        Raises:
            InputError: if the file was cut short, or a page in it is damaged.
        """

    def copy_to(self, samples: np.ndarray, out: np.ndarray) -> None:
        """Write the pages of ``samples`` (B,) to ``out`` (B, 1, S, S) uint8, C-contiguous.

        Raises:
            InputError: as ``read``.
        """
        pages, offsets = self.read(samples)
        check_inside(pages, offsets, out.shape[-1])
        copy_batch(pages, offsets, out)


def check_inside(pages: np.ndarray, offsets: np.ndarray, side: int) -> None:
    """Refuse offsets outside of ``pages``; the kernels do not check where they read."""
    if int(offsets.max()) + side**2 > pages.size:
        raise IndexError("a page lies outside of the file")


def open_pages(beton: Beton) -> RawPages | JpegPages:
    """The source for what the beton's pages are stored as."""
    file, layout, num = map_beton(beton), beton.final_layout, beton.num_samples
    if beton.encoding == "raw":
        return RawPages(file, layout.offsets(num))
    return JpegPages(file, layout.offsets(num), layout.sizes(num), beton.image_size)


@dataclass(frozen=True, eq=False)
class RawPages(PageSource):
    """Pages stored as they are: nothing is copied."""

    file: MappedBytes
    offsets: np.ndarray
    """(N,) uint64, of every page of the file."""

    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.file.check()
        return self.file.data, self.offsets[samples]


@dataclass(frozen=True, eq=False)
class JpegPages(PageSource):
    """Pages stored as JPEGs."""

    file: MappedBytes
    offsets: np.ndarray
    """(N,) uint64, of every JPEG of the file."""
    sizes: np.ndarray
    """(N,) bytes of each."""
    side: int

    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pages = np.empty((len(samples), 1, self.side, self.side), dtype=np.uint8)
        self.copy_to(samples, pages)
        flat = pages.reshape(-1)
        flat.flags.writeable = False
        return flat, np.arange(len(samples), dtype=np.uint64) * np.uint64(self.side**2)

    def copy_to(self, samples: np.ndarray, out: np.ndarray) -> None:
        self.file.check()
        for page, sample in zip(out[:, 0], samples.tolist(), strict=True):
            try:
                decode_page(self.encoded(sample), page)
            except ImageError as error:
                raise InputError(f"{self.file.path}: image {sample} is damaged ({error}); convert again") from error

    def encoded(self, sample: int) -> np.ndarray:
        """The bytes of one JPEG, read-only."""
        begin = int(self.offsets[sample])
        return self.file.data[begin : begin + int(self.sizes[sample])]
