"""Write decoded pages, one by one and in order, to one FFCV file: whole, and the same bytes every time.

The file grows under ``X.beton.partial``; after each block a line in ``X.beton.journal`` says what it holds, with the
checksum of every page. A writer with the same key keeps the blocks whose pages still have these checksums, so a
conversion killed at any moment, even by a loss of power, resumes at its last good block.
"""

from __future__ import annotations

import errno
import os
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from datasets.beton.format import Layout
from datasets.beton.journal import Block, Journal
from datasets.convert.protocol import Outcome, Page
from datasets.files import disk_full_as_input_error


def work_path(path: Path) -> Path:
    """Where a beton grows until it is whole."""
    return path.with_name(f"{path.name}.partial")


def journal_path(path: Path) -> Path:
    """Where the finished blocks of a growing beton are listed."""
    return path.with_name(f"{path.name}.journal")


class BetonWriter(AbstractContextManager["BetonWriter"]):
    """Takes the outcome of candidate 0, 1, 2, ...; a reject takes no place in the file.

    ``stamp`` gives a candidate's source file a mark that changes with the file, so that work is not resumed past an
    image that was refused and has been mended since.
    """

    def __init__(self, path: Path, layout: Layout, *, key: str, stamp: Callable[[int], str]) -> None:
        self.path, self.layout, self._stamp = path, layout, stamp
        # Typed arrays, 16 bytes an image in all; what is longer stays in the journal until it is wanted.
        self.accepted = array("q")
        """Position among the candidates of each written image."""
        self.crc32 = array("I")
        self.lengths = array("I")
        """Bytes of each written JPEG; empty where all images are raw pages."""
        self.rejects: dict[int, str] = {}
        """Reason by position."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._pixels, self._num_bytes = bytearray(layout.block_bytes), 0
        self._block = Block(0, 0)
        self._num_blocks = 0
        with ExitStack() as opened:
            self._journal = opened.enter_context(Journal(journal_path(path), key=key))
            self._file = os.open(work_path(path), os.O_RDWR | os.O_CREAT, 0o666)
            opened.callback(os.close, self._file)
            self._resume()
            self._opened = opened.pop_all()

    def __exit__(self, *exc: object) -> None:
        self._opened.close()

    @property
    def next(self) -> int:
        """Position of the candidate that comes next; above 0 from the start when earlier work is resumed."""
        return self._block.next

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of candidate ``next``; a full block goes to the file and then to the journal.

        Raises:
            InputError: if the disk is full; what is written so far stays.
        """
        if isinstance(outcome, Page):
            self._add_page(outcome)
        else:
            self._block.rejects.append((self._block.next, outcome.reason, self._stamp(self._block.next)))
        self._block.next += 1
        if self.layout.encoding == "raw" and len(self._block.crc32) == self.layout.per_block:
            self._write_block()

    def _add_page(self, page: Page) -> None:
        num_bytes = len(page.stored)
        if self.layout.encoding == "raw" and num_bytes != self.layout.image_bytes:
            raise ValueError(f"a page of {num_bytes} bytes, not {self.layout.image_bytes}")
        if self.layout.encoding == "jpeg":
            if not 0 < num_bytes <= self.layout.block_bytes:
                raise ValueError(f"a JPEG of {num_bytes} bytes for a block of {self.layout.block_bytes}")
            if self._num_bytes + num_bytes > self.layout.block_bytes:
                self._write_block()
            self._block.lengths.append(num_bytes)
        self._pixels[self._num_bytes : self._num_bytes + num_bytes] = page.stored
        self._num_bytes += num_bytes
        self._block.crc32.append(page.crc32)
        self._block.sha256.append(page.sha256.hex())

    def flush(self) -> None:
        """Write the last, incomplete block; to be called once, after the last candidate."""
        if self._block.next > self._block.first:
            self._write_block()

    def finish(self, targets: np.ndarray) -> None:
        """Write what stands around the pages and force all to disk; ``targets`` (N, L) are those of ``accepted``."""
        num_samples, layout = len(self.accepted), self.final_layout
        assert targets.shape == (num_samples, layout.num_labels), targets.shape
        head = layout.head(targets).ljust(layout.data_start, b"\0")
        with disk_full_as_input_error(self.path, self._kept()):
            os.ftruncate(self._file, layout.data_end(num_samples))
            _write_at(self._file, head, 0)
            _write_at(self._file, layout.tail(num_samples), layout.data_end(num_samples))
            os.fsync(self._file)

    @property
    def final_layout(self) -> Layout:
        """The layout of all images that are written."""
        if self.layout.encoding == "raw":
            return self.layout
        return self.layout.with_lengths(np.asarray(self.lengths))

    def digests(self) -> Iterator[bytes]:
        """SHA-256 of each written image, in order."""
        for block, _ in self._journal.read():
            yield from map(bytes.fromhex, block.sha256)

    def check_pages(self) -> None:
        """Read every page back from the file and compare its checksum.

        Raises:
            OSError: if the storage does not return what was written.
        """
        layout, num = self.final_layout, len(self.crc32)
        for begin, size, crc32 in zip(layout.offsets(num), layout.sizes(num), self.crc32, strict=True):
            if zlib.crc32(os.pread(self._file, int(size), int(begin))) != crc32:
                raise OSError(errno.EIO, "a page reads back differently from what was written", str(self.path))

    def _write_block(self) -> None:
        block = self._block
        with disk_full_as_input_error(self.path, self._kept()):
            if block.crc32:
                self._pixels[self._num_bytes :] = bytes(self.layout.block_bytes - self._num_bytes)
                _write_at(self._file, self._pixels, self.layout.block_start(self._num_blocks))
            self._journal.append(block)
        self._num_bytes = 0
        self._append(block)

    def _append(self, block: Block) -> None:
        self.accepted.extend(block.accepted)
        self.crc32.extend(block.crc32)
        self.lengths.extend(block.lengths)
        self._num_blocks += bool(block.crc32)
        self.rejects.update({position: reason for position, reason, _ in block.rejects})
        self._block = Block(block.next, block.next)

    def _resume(self) -> None:
        """Keep the blocks that the journal lists and the file holds; cut the journal behind the last good one."""
        good_bytes = 0
        for block, num_bytes in self._journal.read():
            mended = any(self._stamp(position) != stamp for position, _, stamp in block.rejects)
            if mended or not self._is_good(self._num_blocks, block.crc32, block.lengths):
                break
            self._append(block)
            good_bytes = num_bytes
        self._journal.cut(good_bytes)

    def _is_good(self, number: int, crc32: Sequence[int], lengths: Sequence[int]) -> bool:
        """Whether a block holds images with these checksums; ``lengths`` are those of JPEGs."""
        ends = list(accumulate(lengths or [self.layout.image_bytes] * len(crc32)))
        if ends and ends[-1] > self.layout.block_bytes:
            return False
        data = memoryview(os.pread(self._file, ends[-1] if ends else 0, self.layout.block_start(number)))
        found = [zlib.crc32(data[begin:end]) for begin, end in pairwise([0, *ends])]
        return found == list(crc32)

    def _kept(self) -> str:
        return f"the first {len(self.accepted):,} images are kept"


def _write_at(file: int, data: bytes | bytearray, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
