"""Read whole pages of a beton by sample index from its mapped file, whatever they are stored as."""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from zlib_ng import zlib_ng

from datasets.beton.format import METADATA_START, Layout, metadata_dtype
from datasets.beton.sidecar import Sidecar
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
        from datasets.augment.warp_cpu import copy_batch  # numba, which a look at a page does not need

        pages, offsets = self.read(samples)
        check_inside(pages, offsets, out.shape[-1])
        copy_batch(pages, offsets, out)


def check_inside(pages: np.ndarray, offsets: np.ndarray, side: int) -> None:
    """Refuse offsets outside of ``pages``; the kernels do not check where they read."""
    if int(offsets.max()) + side**2 > pages.size:
        raise IndexError("a page lies outside of the file")


class PageProof:
    """Compares each page with its checksum the first time that it is read.

    zlib-ng computes the CRC-32 of a page of 256 x 256 in 3 us, several times as fast as zlib.
    """

    def __init__(self, path: Path, crc32: np.ndarray, name_of: Callable[[int], str]) -> None:
        self._path, self._crc32, self._name_of = path, crc32, name_of
        self._seen = np.zeros(len(crc32), dtype=np.bool_)

    def check(self, samples: np.ndarray, stored: Callable[[int], np.ndarray]) -> None:
        """Check those of ``samples`` (B,) that were not read before; ``stored`` gives the bytes of one.

        Raises:
            InputError: naming the first one that is not as it was written.
        """
        for sample in samples[~self._seen[samples]].tolist():
            if zlib_ng.crc32(stored(sample)) != self._crc32[sample]:
                raise InputError(
                    f"{self._path}: image {sample} ({self._name_of(sample)}) is not as it was written (its checksum "
                    f"differs); 'cxr inspect {self._path} --verify --json' lists all such; convert the dataset again"
                )
            self._seen[sample] = True


def open_pages(path: Path, layout: Layout, sidecar: Sidecar) -> FilePages:
    """Map a beton's file, if its path still leads to the file that ``layout`` and ``sidecar`` were read of.

    Raises:
        InputError: when length or checksum of what stands before the images are not the sidecar's.
    """
    try:
        file = MappedBytes(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be mapped ({error})") from error
    num = sidecar.num_samples
    head_bytes = METADATA_START + num * metadata_dtype(len(sidecar.labels), sidecar.encoding).itemsize
    if file.data.size != sidecar.file.bytes or zlib.crc32(file.data[:head_bytes].data) != sidecar.file.head_crc32:
        raise InputError(f"{path}: cut short, replaced or altered since it was opened; if it stays so, convert again")
    kind = RawPages if sidecar.encoding == "raw" else JpegPages
    return kind(file, layout.offsets(num), layout.sizes(num), sidecar.image_size)


class MappedBytes:
    """A whole file as memory, shared with all processes through the page cache.

    The mapping holds the file itself, so deleting or replacing its name does no harm. A file that is cut short in
    place is another matter: reading behind its new end kills the process (SIGBUS), and so does a disk or server that
    fails while a page is read. ``check`` finds a cut that has happened; one in the middle of a batch cannot be
    caught.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self._map = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)
        self.data: np.ndarray = np.frombuffer(self._map, dtype=np.uint8)
        """The bytes, read-only."""

    def check(self) -> None:
        """Look at the file's present length; meant for every batch, since it takes a microsecond.

        Raises:
            InputError: if the file has been cut short since it was opened.
        """
        num_bytes = self._map.size()
        if num_bytes < self.data.size:
            raise InputError(
                f"{self.path}: cut short while it was being read, {num_bytes:,} of {self.data.size:,} bytes are left"
            )

    def will_need(self, offsets: np.ndarray, sizes: np.ndarray) -> None:
        """Have the system read these places (B,) into its cache in the background; file systems may pass it over."""
        with contextlib.suppress(OSError):
            for offset, size in zip(offsets.tolist(), sizes.tolist(), strict=True):
                os.posix_fadvise(self._file, offset, size, os.POSIX_FADV_WILLNEED)


@dataclass(frozen=True, eq=False)
class FilePages(PageSource):
    """Pages of one file."""

    file: MappedBytes
    offsets: np.ndarray
    """(N,) uint64, of every stored page of the file."""
    sizes: np.ndarray
    """(N,) bytes of each."""
    side: int
    proof: PageProof | None = None

    def check(self, samples: np.ndarray) -> None:
        """Look at the file's length, and at the pages of ``samples`` (B,) if they are new.

        Raises:
            InputError: when the file was cut short, or a page is not as it was written.
        """
        self.file.check()
        if self.proof is not None:
            self.proof.check(samples, self.stored)

    def will_need(self, samples: np.ndarray) -> None:
        """Have the system read the pages of ``samples`` (B,) into its cache in the background."""
        self.file.will_need(self.offsets[samples], self.sizes[samples])

    def stored(self, sample: int) -> np.ndarray:
        """The stored bytes of one page, read-only."""
        begin = int(self.offsets[sample])
        return self.file.data[begin : begin + int(self.sizes[sample])]


class RawPages(FilePages):
    """Pages stored as they are: nothing is copied."""

    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.check(samples)
        return self.file.data, self.offsets[samples]


class JpegPages(FilePages):
    """Pages stored as JPEGs."""

    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _copies(self, samples, self.side)

    def copy_to(self, samples: np.ndarray, out: np.ndarray) -> None:
        self.check(samples)
        for page, sample in zip(out[:, 0], samples.tolist(), strict=True):
            try:
                decode_page(self.stored(sample), page)
            except ImageError as error:
                raise InputError(f"{self.file.path}: image {sample} is damaged ({error}); convert again") from error


@dataclass(frozen=True, eq=False)
class MixedPages(PageSource):
    """Pages of several files, which are copied together."""

    parts: tuple[Pages, ...]
    numbers: np.ndarray
    """(N,) which of the parts holds each sample."""
    indices: np.ndarray
    """(N,) its index there."""
    side: int

    def check(self, samples: np.ndarray) -> None:
        """As ``FilePages.check``, of the parts that hold ``samples`` (B,)."""
        for part, _, indices in self._by_part(samples):
            part.check(indices)

    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _copies(self, samples, self.side)

    def copy_to(self, samples: np.ndarray, out: np.ndarray) -> None:
        for part, places, indices in self._by_part(samples):
            pages, offsets = part.read(indices)
            check_inside(pages, offsets, self.side)
            for place, offset in zip(places.tolist(), offsets.tolist(), strict=True):
                out[place].reshape(-1)[:] = pages[offset : offset + self.side**2]

    def will_need(self, samples: np.ndarray) -> None:
        """As that of ``FilePages``."""
        for part, _, indices in self._by_part(samples):
            part.will_need(indices)

    def _by_part(self, samples: np.ndarray) -> Iterator[tuple[Pages, np.ndarray, np.ndarray]]:
        """Each part that holds any of ``samples`` (B,), their places among these and their indices there."""
        numbers, indices = self.numbers[samples], self.indices[samples]
        for number, part in enumerate(self.parts):
            places = np.flatnonzero(numbers == number)
            if len(places):
                yield part, places, indices[places]

    def stored(self, sample: int) -> np.ndarray:
        """The stored bytes of one page, read-only."""
        stored: np.ndarray = self.parts[self.numbers[sample]].stored(int(self.indices[sample]))
        return stored


Pages = FilePages | MixedPages


def _copies(source: PageSource, samples: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Copies of the pages, and where each begins."""
    pages = np.empty((len(samples), 1, side, side), dtype=np.uint8)
    source.copy_to(samples, pages)
    flat = pages.reshape(-1)
    flat.flags.writeable = False
    return flat, np.arange(len(samples), dtype=np.uint64) * np.uint64(side**2)
