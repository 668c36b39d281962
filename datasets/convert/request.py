"""What a beton shall hold, as one value with a hash: records, splits, subset ranks and options."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from datasets.beton.format import Encoding, Layout
from datasets.beton.sidecar import FORMAT_VERSION, SAMPLE_COLUMNS
from datasets.convert.protocol import DECODER, DecodeSpec
from datasets.errors import InputError
from datasets.images.resize import LargeJpeg, Resize
from datasets.sources.records import Records
from datasets.sources.tables import values_of

OnError = Literal["reject", "stop"]

SIZE_STEP, LARGEST_SIZE = 32, 4096
"""Of pages, in pixels: the networks halve the image five times, and no radiograph is larger."""


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How a dataset is converted.

    ``workers``, ``max_rejects``, ``on_error`` and ``overwrite`` change nothing of what is written.
    """

    size: int = 256
    """Side of the pages in pixels, a multiple of 32."""
    resize: Resize = "shorter"
    large_jpeg: LargeJpeg = "reduced"
    encoding: Encoding = "raw"
    """``raw`` stores the pixels, ``jpeg`` a gray JPEG of a quarter of that size or less."""
    quality: int = 95
    """Of JPEG pages, 1..100; without effect on raw ones."""
    split_settings: dict[str, Any] = field(default_factory=dict)
    """How splits and ranks were made, as plain JSON values, for the sidecar."""
    workers: int | None = None
    """Decode processes; the cores that this process may use when None."""
    max_rejects: float = 0.01
    """Fraction of all images that may be refused, those in ``records.rejects`` included."""
    on_error: OnError = "reject"
    """``stop`` ends at the first image that cannot be used."""
    overwrite: bool = False
    """Replace the beton even if it is whole."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.size not in range(SIZE_STEP, LARGEST_SIZE + 1, SIZE_STEP):
            raise InputError(f"size = {self.size} must be a multiple of {SIZE_STEP} pixels, {LARGEST_SIZE} at most")
        choices = {"resize": Resize, "large_jpeg": LargeJpeg, "encoding": Encoding, "on_error": OnError}
        for name, literal in choices.items():
            value, known = getattr(self, name), get_args(literal)
            if value not in known:
                raise InputError(f"{name} {value!r} is unknown; known: {', '.join(known)}")
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality = {self.quality} must lie in 1..100")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers = {self.workers} must be at least 1")

    @property
    def decode_spec(self) -> DecodeSpec:
        """What becomes of each image file."""
        quality = self.quality if self.encoding == "jpeg" else None
        return DecodeSpec(size=self.size, resize=self.resize, large_jpeg=self.large_jpeg, jpeg_quality=quality)


@dataclass(frozen=True, eq=False)
class Request:
    """The candidates of a beton and what is to be done with them; equal hashes give equal betons."""

    records: Records
    splits: np.ndarray
    """(N,) of str."""
    ranks: np.ndarray
    """(N,) int64: place of a train image in the order of subsets, -1 elsewhere."""
    options: ConvertOptions

    def __post_init__(self) -> None:
        """Refuse arrays of another length."""
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
            num_candidates, image_size=self.options.size, num_labels=num_labels, encoding=self.options.encoding
        )

    @property
    def expected_bytes(self) -> int:
        """About how long the file will be; a JPEG of the usual quality takes a quarter of its pixels or less."""
        layout = self.layout
        if self.options.encoding == "raw":
            return layout.file_bytes(len(self))
        return layout.data_start + len(self) * layout.image_bytes // 4

    @property
    def settings(self) -> dict[str, Any]:
        """What the sidecar says under ``settings``."""
        options = self.options
        return {
            "resize": options.resize,
            "large_jpeg": options.large_jpeg,
            "decoder": DECODER,
            "encoding": options.encoding,
            **({"quality": options.quality} if options.encoding == "jpeg" else {}),
            "uncertain": self.records.uncertain,
            "views": self.records.views,
            **options.split_settings,
            **({"phantom": True} if self.records.phantom else {}),
            **({"title": self.records.title} if self.records.title else {}),
        }

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
            "size": self.options.size,
            "settings": self.settings,
            "tables": [asdict(table) for table in self.records.tables],
            **({"attributes": list(self.records.attributes)} if self.records.attributes else {}),
            "rejects": [list(map(str, row)) for row in self.records.rejects.itertuples(index=False)],
        }
        total.update(json.dumps(head, sort_keys=True).encode())
        for name in (*SAMPLE_COLUMNS[1:], *self.records.attributes):
            for value in values_of(self.records.frame[name]):
                total.update(json.dumps(str(value)).encode())
        total.update(self.records.targets.tobytes())
        for split in self.splits:
            total.update(json.dumps(str(split)).encode())
        total.update(np.asarray(self.ranks, dtype="<i8").tobytes())
        return f"sha256:{total.hexdigest()}"
