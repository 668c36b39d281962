"""Records, splits and settings come in; what a beton shall hold, as one value with a hash, goes out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, get_args

import numpy as np

from datasets.beton.format import Encoding, Layout
from datasets.beton.sidecar import FORMAT_VERSION
from datasets.errors import InputError
from datasets.images.resize import LargeJpeg, Resize
from datasets.malloc import values_of
from datasets.sources.records import Records

SIZE_STEP = 32
"""The networks halve the image five times."""
DECODER = 3
"""Raised when the same file would give other pixels."""
SAMPLE_COLUMNS = ("path", "name", "patient", "study", "view", "sex", "age")


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """The candidates of a beton and what is to be done with them; equal hashes give equal betons."""

    records: Records
    splits: np.ndarray
    """(N,) of str."""
    ranks: np.ndarray
    """(N,) int64: place of a train image in the order of subsets, -1 elsewhere."""
    size: int
    resize: Resize
    large_jpeg: LargeJpeg = "reduced"
    encoding: Encoding = "raw"
    quality: int = 95
    """Of JPEG pages; without effect on raw ones."""
    split_settings: dict[str, Any] = field(default_factory=dict)
    """How splits and ranks were made, as plain JSON values; for the sidecar alone."""

    def __post_init__(self) -> None:
        """Refuse a size that no network takes, and arrays of another length."""
        if self.size < SIZE_STEP or self.size % SIZE_STEP != 0:
            raise InputError(f"size = {self.size} must be a multiple of {SIZE_STEP} pixels")
        if self.encoding not in get_args(Encoding):
            raise InputError(f"encoding {self.encoding!r} is unknown; known: {', '.join(get_args(Encoding))}")
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality = {self.quality} must lie in 1..100")
        lengths = {len(self.records.frame), len(self.records.targets), len(self.splits), len(self.ranks)}
        if len(lengths) != 1:
            raise ValueError(f"records, targets, splits and ranks differ in length: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.records.frame)

    def path(self, position: int) -> str:
        """Path of a candidate below the root."""
        return str(self.records.frame["path"].iat[position])

    def paths(self, first: int) -> Iterator[str]:
        """Path of each candidate from ``first`` on."""
        return values_of(self.records.frame["path"].iloc[first:])

    @property
    def layout(self) -> Layout:
        """Places for all candidates, since rejects are known only at the end."""
        num_candidates, num_labels = self.records.targets.shape
        return Layout.for_capacity(
            num_candidates, image_size=self.size, num_labels=num_labels, encoding=self.encoding
        )

    @property
    def jpeg_quality(self) -> int | None:
        """Quality of the JPEGs to store; None where pixels are stored."""
        return self.quality if self.encoding == "jpeg" else None

    @property
    def expected_bytes(self) -> int:
        """About how long the file will be; a JPEG of the usual quality takes a quarter of its pixels or less."""
        layout = self.layout
        if self.encoding == "raw":
            return layout.file_bytes(len(self))
        return layout.data_start + len(self) * layout.image_bytes // 4

    @property
    def settings(self) -> dict[str, Any]:
        """What the sidecar says under ``settings``."""
        pixels = {"resize": self.resize, "large_jpeg": self.large_jpeg, "decoder": DECODER}
        stored: dict[str, Any] = {"encoding": self.encoding}
        if self.encoding == "jpeg":
            stored["quality"] = self.quality
        labels = {"uncertain": self.records.uncertain, "views": self.records.views}
        phantom = {"phantom": True} if self.records.phantom else {}
        return {**pixels, **stored, **labels, **self.split_settings, **phantom}

    def stamp(self, position: int) -> str:
        """Length and time of change of a candidate's file, or that it is absent."""
        try:
            status = (self.records.root / self.path(position)).stat()
        except OSError as error:
            return f"absent ({error.errno})"
        return f"{status.st_size} {status.st_mtime_ns}"

    @cached_property
    def hash(self) -> str:
        """``sha256:<hex>`` over format, dataset, size, settings, tables and every candidate; not over the root."""
        total = hashlib.sha256()
        head = {
            "format_version": FORMAT_VERSION,
            "dataset": self.records.dataset,
            "labels": list(self.records.labels),
            "size": self.size,
            "settings": self.settings,
            "tables": [asdict(table) for table in self.records.tables],
            "rejects": [list(map(str, row)) for row in self.records.rejects.itertuples(index=False)],
        }
        total.update(json.dumps(head, sort_keys=True).encode())
        for name in SAMPLE_COLUMNS[1:]:
            for value in values_of(self.records.frame[name]):
                total.update(json.dumps(str(value)).encode())
        total.update(self.records.targets.tobytes())
        for split in self.splits:
            total.update(json.dumps(str(split)).encode())
        total.update(np.asarray(self.ranks, dtype="<i8").tobytes())
        return f"sha256:{total.hexdigest()}"
