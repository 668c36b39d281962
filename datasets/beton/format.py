"""The FFCV file format of a beton: the exact bytes around its pages, and where each page lies.

A beton has three FFCV fields: ``image``, one uint8 page (1, S, S) per sample, or its gray JPEG as bytes; ``labels``,
L bytes kept in the metadata (type id 255, ``datasets.loading.ffcv.fields.LabelsField``); ``index``, the
sample's position. In file order:

    header 24 B | 3 field descriptors of 1041 B | metadata, one row per sample | zeros | data | allocation table

The data is cut in blocks of ``page_size`` bytes (FFCV's pages), each with as many images as fit whole, in index
order, and zeros behind them; so the place of every image follows from its index, or from the lengths of the JPEGs
before it. All numbers are little-endian.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

Encoding = Literal["raw", "jpeg"]
"""What an image is stored as: its pixels, or a gray JPEG."""

VERSION = 2
FIELD_NAMES = ("image", "labels", "index")
TYPE_NDARRAY, TYPE_BYTES, TYPE_INT, TYPE_CUSTOM = 4, 3, 1, 255
MIN_BLOCK_BYTES = 1 << 21
"""FFCV's smallest page."""

HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("num_fields", "<u2"),
        ("page_size", "<u4"),
        ("num_samples", "<u8"),
        ("alloc_table_ptr", "<u8"),
    ]
)
DESCRIPTOR = np.dtype([("type_id", "<u1"), ("name", "<u1", 16), ("arguments", "<u1", 1024)])
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])
METADATA_START = HEADER.itemsize + len(FIELD_NAMES) * DESCRIPTOR.itemsize
NDARRAY_MAX_DIMENSIONS = 32
IMAGE_DTYPES: dict[Encoding, np.dtype] = {"raw": np.dtype("<u8"), "jpeg": np.dtype([("ptr", "<u8"), ("size", "<u8")])}
"""The image's part of a row of metadata: its offset, and its length where that differs from image to image."""


def metadata_dtype(num_labels: int, encoding: Encoding = "raw") -> np.dtype:
    """One row of metadata as FFCV lays it out: place of the image, labels, index."""
    fields = [("image", IMAGE_DTYPES[encoding]), ("labels", "<u1", (num_labels,)), ("index", "<i8")]
    return np.dtype(fields, align=True)


def descriptors(image_size: int, num_labels: int, encoding: Encoding = "raw") -> np.ndarray:
    """The three field descriptors, as the fields' own ``to_binary`` writes them."""
    result = np.zeros(len(FIELD_NAMES), dtype=DESCRIPTOR)
    result["type_id"] = (TYPE_NDARRAY if encoding == "raw" else TYPE_BYTES, TYPE_CUSTOM, TYPE_INT)
    for row, name in zip(result, FIELD_NAMES, strict=True):
        row["name"][: len(name)] = np.frombuffer(name.encode("ascii"), dtype="<u1")
    result[1]["arguments"][:4] = np.frombuffer(np.array(num_labels, dtype="<i4").tobytes(), dtype="<u1")
    if encoding == "jpeg":
        return result
    element = json.dumps(np.dtype("uint8").descr).encode("ascii")
    shape = np.zeros(NDARRAY_MAX_DIMENSIONS + 1, dtype="<u8")
    shape[:3] = (1, image_size, image_size)
    shape[-1] = len(element)
    arguments = shape.tobytes() + element
    result[0]["arguments"][: len(arguments)] = np.frombuffer(arguments, dtype="<u1")
    return result


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything lies in a beton with pages of ``image_size`` x ``image_size`` bytes."""

    image_size: int
    num_labels: int
    data_start: int
    """Offset of the first image; a multiple of ``block_bytes``."""
    encoding: Encoding = "raw"
    lengths: np.ndarray | None = field(default=None, compare=False)
    """(N,) bytes of each JPEG, once they are known; None for raw pages, which are all of ``image_bytes``."""

    @classmethod
    def for_capacity(cls, capacity: int, *, image_size: int, num_labels: int, encoding: Encoding = "raw") -> Layout:
        """Leave room for ``capacity`` metadata rows before the data, since rejects are known only at the end."""
        block_bytes = _block_bytes(image_size, encoding)
        metadata_end = METADATA_START + capacity * metadata_dtype(num_labels, encoding).itemsize
        data_start = -(-metadata_end // block_bytes) * block_bytes
        return cls(image_size=image_size, num_labels=num_labels, data_start=data_start, encoding=encoding)

    def with_lengths(self, lengths: np.ndarray) -> Layout:
        """The layout of JPEGs of these lengths (N,)."""
        assert self.encoding == "jpeg"
        return replace(self, lengths=np.asarray(lengths, dtype=np.uint64))

    @property
    def image_bytes(self) -> int:
        """Bytes of one image's pixels."""
        return self.image_size * self.image_size

    @property
    def block_bytes(self) -> int:
        """Bytes of one block; FFCV's page size."""
        return _block_bytes(self.image_size, self.encoding)

    @property
    def per_block(self) -> int:
        """Raw pages in one block."""
        return self.block_bytes // self.image_bytes

    def num_blocks(self, num_samples: int) -> int:
        """Blocks that hold so many images."""
        if self.lengths is None:
            return -(-num_samples // self.per_block)
        return len(self._first_of_blocks())

    def block_start(self, block: int) -> int:
        """Offset of a block in the file."""
        return self.data_start + block * self.block_bytes

    def sizes(self, num_samples: int) -> np.ndarray:
        """Bytes of each stored image (N,) uint64."""
        if self.lengths is None:
            return np.full(num_samples, self.image_bytes, dtype=np.uint64)
        assert len(self.lengths) == num_samples
        return self.lengths

    def _first_of_blocks(self) -> list[int]:
        """Number of the first JPEG of each block: a block takes as many as fit whole."""
        assert self.lengths is not None
        ends, firsts, before = np.cumsum(self.lengths), [0], 0
        while True:
            following = int(np.searchsorted(ends, before + self.block_bytes, side="right"))
            if following == len(ends):
                return firsts
            assert following > firsts[-1], "a JPEG is larger than a block"
            firsts.append(following)
            before = int(ends[following - 1])

    def offsets(self, num_samples: int) -> np.ndarray:
        """Offset of each image (N,) uint64."""
        if self.lengths is not None:
            starts = np.cumsum(self.lengths) - self.lengths
            firsts = np.array(self._first_of_blocks())
            block = np.searchsorted(firsts, np.arange(num_samples), side="right") - 1
            within: np.ndarray = starts - starts[firsts[block]]
            return within + np.uint64(self.data_start) + block.astype(np.uint64) * np.uint64(self.block_bytes)
        block, place = np.divmod(np.arange(num_samples, dtype=np.uint64), np.uint64(self.per_block))
        return np.uint64(self.data_start) + block * np.uint64(self.block_bytes) + place * np.uint64(self.image_bytes)

    def data_end(self, num_samples: int) -> int:
        """Offset of the allocation table."""
        return self.block_start(self.num_blocks(num_samples))

    def file_bytes(self, num_samples: int) -> int:
        """Length of the whole file."""
        return self.data_end(num_samples) + num_samples * ALLOCATION.itemsize

    def head(self, targets: np.ndarray) -> bytes:
        """Header, descriptors and metadata of the samples whose labels are ``targets`` (N, L) uint8."""
        num_samples = len(targets)
        header = np.zeros(1, dtype=HEADER)
        header["version"], header["num_fields"] = VERSION, len(FIELD_NAMES)
        header["page_size"], header["num_samples"] = self.block_bytes, num_samples
        header["alloc_table_ptr"] = self.data_end(num_samples)
        metadata = np.zeros(num_samples, dtype=metadata_dtype(self.num_labels, self.encoding))
        if self.encoding == "jpeg":
            metadata["image"]["ptr"] = self.offsets(num_samples)
            metadata["image"]["size"] = self.sizes(num_samples)
        else:
            metadata["image"] = self.offsets(num_samples)
        metadata["labels"] = targets
        metadata["index"] = np.arange(num_samples)
        fields = descriptors(self.image_size, self.num_labels, self.encoding)
        return header.tobytes() + fields.tobytes() + metadata.tobytes()

    def tail(self, num_samples: int) -> bytes:
        """The allocation table: for each image its index, offset and length."""
        table = np.zeros(num_samples, dtype=ALLOCATION)
        table["sample_id"] = np.arange(num_samples)
        table["ptr"] = self.offsets(num_samples)
        table["size"] = self.sizes(num_samples)
        return table.tobytes()


def _block_bytes(image_size: int, encoding: Encoding) -> int:
    """The smallest power of two from 2 MiB on that holds one image; a JPEG of noise is larger than its pixels."""
    largest = image_size * image_size * (2 if encoding == "jpeg" else 1)
    return max(MIN_BLOCK_BYTES, 1 << (largest - 1).bit_length())
