"""Map a beton's file read-only, with a guard against files that shrink."""

from __future__ import annotations

import mmap
import zlib
from pathlib import Path

import numpy as np

from datasets.beton.format import METADATA_START, metadata_dtype
from datasets.beton.reader import Beton
from datasets.errors import InputError


class MappedBytes:
    """A whole file as memory, shared with all processes through the page cache.

    The mapping holds the file itself, so deleting or replacing its name does no harm. A file that is cut short in
    place is another matter: reading behind its new end kills the process (SIGBUS), and so does a disk or server that
    fails while a page is read. ``check`` finds a cut that has happened; one in the middle of a batch cannot be
    caught.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
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


def map_beton(beton: Beton) -> MappedBytes:
    """Map the file of a beton, if its path still leads to the file that was opened.

    Raises:
        InputError: when length or checksum of what stands before the images are not the sidecar's.
    """
    try:
        file = MappedBytes(beton.path)
    except (OSError, ValueError) as error:
        raise InputError(f"{beton.path}: cannot be mapped ({error})") from error
    head_bytes = METADATA_START + beton.num_samples * metadata_dtype(len(beton.labels), beton.encoding).itemsize
    expected = beton.sidecar.file
    if file.data.size != expected.bytes or zlib.crc32(file.data[:head_bytes].tobytes()) != expected.head_crc32:
        raise InputError(
            f"{beton.path}: cut short, replaced or altered since it was opened; if it stays so, convert again"
        )
    return file
