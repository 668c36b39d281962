"""Decoded pages come in one by one, in order; one FFCV file goes out, whole, the same bytes every time.

The file grows under ``X.beton.partial``; after each block a line in ``X.beton.journal`` says what it holds, with the
checksum of every page. A writer with the same key takes up the blocks whose pages still have these checksums, so a
conversion killed at any moment, even by a loss of power, goes on at its last good block.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np

from datasets.beton_format import Layout
from datasets.decode_pool import Outcome, Page
from datasets.errors import InputError
from datasets.journal import Block, Journal

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def work_path(path: Path) -> Path:
    """Where a beton grows until it is whole."""
    return path.with_name(f"{path.name}.partial")


def journal_path(path: Path) -> Path:
    """Where the finished blocks of a growing beton are listed."""
    return path.with_name(f"{path.name}.journal")


class BetonWriter(AbstractContextManager["BetonWriter"]):
    """Takes the outcome of candidate 0, 1, 2, ...; a reject takes no place in the file.

    ``stamp`` gives a candidate's source file a mark that changes with the file, so that work is not taken up past an
    image that was refused and has been mended since.
    """

    def __init__(self, path: Path, layout: Layout, *, key: str, stamp: Callable[[int], str]) -> None:
        self.path, self.layout, self._stamp = path, layout, stamp
        self.accepted: list[int] = []
        """Position among the candidates of each written image."""
        self.crc32: list[int] = []
        self.sha256 = bytearray()
        """Digests (32 bytes each) of the written images."""
        self.rejects: dict[int, str] = {}
        """Reason by position."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(journal_path(path), key=key)
        self._file = os.open(work_path(path), os.O_RDWR | os.O_CREAT, 0o666)
        self._pixels = bytearray()
        self._block = Block(0, 0)
        self._resume()

    def __exit__(self, *exc: object) -> None:
        os.close(self._file)
        self._journal.__exit__()

    @property
    def next(self) -> int:
        """Position of the candidate that comes next; above 0 from the start when earlier work was taken up."""
        return self._block.next

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of candidate ``next``; a full block goes to the file and then to the journal.

        Raises:
            InputError: if the disk is full; what is written so far stays.
        """
        block = self._block
        if isinstance(outcome, Page):
            if len(outcome.pixels) != self.layout.image_bytes:
                raise ValueError(f"a page of {len(outcome.pixels)} bytes, not {self.layout.image_bytes}")
            self._pixels += outcome.pixels
            block.crc32.append(outcome.crc32)
            block.sha256.append(outcome.sha256.hex())
        else:
            block.rejects.append((block.next, outcome.reason, self._stamp(block.next)))
        block.next += 1
        if len(block.crc32) == self.layout.per_block:
            self._write_block()

    def flush(self) -> None:
        """Write the last, incomplete block; to be called once, after the last candidate."""
        if self._block.next > self._block.first:
            self._write_block()

    def finish(self, targets: np.ndarray) -> None:
        """Write what stands around the pages and force all to disk; ``targets`` (N, L) are those of ``accepted``."""
        num_samples = len(self.accepted)
        assert targets.shape == (num_samples, self.layout.num_labels), targets.shape
        head = self.layout.head(targets).ljust(self.layout.data_start, b"\0")
        with self._explained_disk_full():
            os.ftruncate(self._file, self.layout.data_end(num_samples))
            _write_at(self._file, head, 0)
            _write_at(self._file, self.layout.tail(num_samples), self.layout.data_end(num_samples))
            os.fsync(self._file)

    def check_pages(self) -> None:
        """Read every page back from the file and compare its checksum.

        Raises:
            OSError: if the storage does not return what was written.
        """
        for first in range(0, len(self.crc32), self.layout.per_block):
            if not self._is_good(first, self.crc32[first : first + self.layout.per_block]):
                raise OSError(errno.EIO, "a page reads back differently from what was written", str(self.path))

    def _write_block(self) -> None:
        block = self._block
        with self._explained_disk_full():
            if block.crc32:
                data = self._pixels.ljust(self.layout.block_bytes, b"\0")
                _write_at(self._file, data, self._block_start(len(self.accepted)))
            self._journal.append(block)
        self._pixels = bytearray()
        self._take_up(block)

    def _take_up(self, block: Block) -> None:
        self.accepted.extend(block.accepted)
        self.crc32.extend(block.crc32)
        self.sha256 += b"".join(map(bytes.fromhex, block.sha256))
        self.rejects.update({position: reason for position, reason, _ in block.rejects})
        self._block = Block(block.next, block.next)

    def _resume(self) -> None:
        """Take up the blocks that the journal lists and the file holds; cut the journal behind the last good one."""
        good_bytes = 0
        for block, num_bytes in self._journal.read():
            mended = any(self._stamp(position) != stamp for position, _, stamp in block.rejects)
            if mended or not self._is_good(len(self.accepted), block.crc32):
                break
            self._take_up(block)
            good_bytes = num_bytes
        self._journal.cut(good_bytes)

    def _block_start(self, first_image: int) -> int:
        return self.layout.block_start(first_image // self.layout.per_block)

    def _is_good(self, first_image: int, crc32: Sequence[int]) -> bool:
        """Whether the block that begins with ``first_image`` holds pages with these checksums."""
        size = self.layout.image_bytes
        data = memoryview(os.pread(self._file, len(crc32) * size, self._block_start(first_image)))
        found = [zlib.crc32(data[place * size : (place + 1) * size]) for place in range(len(crc32))]
        return found == list(crc32)

    @contextmanager
    def _explained_disk_full(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise InputError(
                f"{self.path}: the disk is full after {len(self.accepted):,} images; they are kept: "
                "make room and run the same command again"
            ) from None


def _write_at(file: int, data: bytes | bytearray, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
