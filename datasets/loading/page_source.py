"""Read whole pages of a beton by sample index, whatever they are stored as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from datasets.beton.mapped_file import MappedBytes, map_beton
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.images import ImageError
from datasets.images.jpeg import decode_page


class PageSource(Protocol):
    """Reads pages of S*S gray pixels; safe to use from several threads."""

    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return read-only bytes (uint8) and the offsets (B,) uint64 of the pages of ``samples`` (B,) in them.

        Raises:
            InputError: if the file was cut short, or a page in it is damaged.
        """


def open_pages(beton: Beton) -> RawPages | JpegPages:
    """The source for what the beton's pages are stored as."""
    file, layout, num = map_beton(beton), beton.final_layout, beton.num_samples
    if beton.encoding == "raw":
        return RawPages(file, layout.offsets(num))
    return JpegPages(file, layout.offsets(num), layout.sizes(num), beton.image_size)


@dataclass(frozen=True, eq=False)
class RawPages:
    """Pages stored as they are: nothing is copied."""

    file: MappedBytes
    offsets: np.ndarray
    """(N,) uint64, of every page of the file."""

    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.file.check()
        return self.file.data, self.offsets[samples]


@dataclass(frozen=True, eq=False)
class JpegPages:
    """Pages stored as JPEGs: decoded into memory of their own."""

    file: MappedBytes
    offsets: np.ndarray
    """(N,) uint64, of every JPEG of the file."""
    sizes: np.ndarray
    """(N,) bytes of each."""
    side: int

    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.file.check()
        pages = np.empty((len(samples), self.side, self.side), dtype=np.uint8)
        for page, sample in zip(pages, samples.tolist(), strict=True):
            try:
                decode_page(self.encoded(sample), page)
            except ImageError as error:
                raise InputError(f"{self.file.path}: image {sample} is damaged ({error}); convert again") from error
        flat = pages.reshape(-1)
        flat.flags.writeable = False
        return flat, np.arange(len(samples), dtype=np.uint64) * np.uint64(self.side**2)

    def encoded(self, sample: int) -> np.ndarray:
        """The bytes of one JPEG, read-only."""
        begin = int(self.offsets[sample])
        return self.file.data[begin : begin + int(self.sizes[sample])]
