"""Records with their splits come in; a beton, its samples table and its sidecar go out, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datasets.beton.format import Encoding
from datasets.beton.reader import Beton
from datasets.beton.sidecar import Sidecar
from datasets.beton.writer import BetonWriter, journal_path, work_path
from datasets.convert.pool import DecodePool, Reject, default_workers
from datasets.convert.publish import publish, settle, versions
from datasets.convert.request import Request
from datasets.disk_full import explained_disk_full
from datasets.errors import InputError
from datasets.images.resize import LargeJpeg, Resize
from datasets.malloc import return_spare_memory
from datasets.progress import progress
from datasets.sources.records import Records

OnError = Literal["reject", "stop"]
SHOWN_REJECTS = 5


def convert(
    records: Records,
    splits: np.ndarray,
    ranks: np.ndarray,
    out: Path,
    *,
    size: int = 256,
    resize: Resize = "shorter",
    large_jpeg: LargeJpeg = "reduced",
    encoding: Encoding = "raw",
    quality: int = 95,
    workers: int | None = None,
    max_rejects: float = 0.01,
    on_error: OnError = "reject",
    overwrite: bool = False,
    split_settings: dict[str, Any] | None = None,
) -> Sidecar:
    """Decode every image of ``records`` to a ``size`` x ``size`` page and write the beton ``out``.

    An existing beton made by an equal request is left as it is, and an interrupted conversion goes on where it was.
    The bytes written do not depend on ``workers``.

    Args:
        records: candidates, sorted by path.
        splits: (N,) of str.
        ranks: (N,) int64, see ``datasets.splits.split.subset_ranks``.
        out: path of the beton; its companions lie beside it.
        size: side of the pages in pixels, a multiple of 32.
        resize: see ``datasets.images.resize.fit``.
        large_jpeg: see ``datasets.images.resize.LargeJpeg``.
        encoding: ``raw`` stores the pixels, ``jpeg`` a gray JPEG of a quarter of that size or less.
        quality: of these JPEGs, 1..100.
        workers: decoder processes; the cores that this process may use when None.
        max_rejects: fraction of all images that may be refused, those in ``records.rejects`` included.
        on_error: ``stop`` ends at the first image that cannot be used.
        overwrite: replace ``out`` even if it is whole.
        split_settings: how splits and ranks were made, for the sidecar.

    Raises:
        InputError: too many rejects, ``out`` exists and is another beton, the disk is full.
    """
    request = Request(
        records=records,
        splits=np.asarray(splits),
        ranks=np.asarray(ranks),
        size=size,
        resize=resize,
        large_jpeg=large_jpeg,
        encoding=encoding,
        quality=quality,
        split_settings=split_settings or {},
    )
    manner = Manner(workers=workers, max_rejects=max_rejects, on_error=on_error)
    return _found(request, Path(out), overwrite=overwrite) or _made(request, Path(out), manner)


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a conversion is done; nothing of it changes what is written of an image that can be used."""

    workers: int | None
    max_rejects: float
    on_error: OnError

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if not 0.0 <= self.max_rejects <= 1.0:
            raise InputError(f"max_rejects = {self.max_rejects} is a fraction and must lie in 0..1")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers = {self.workers} must be at least 1")


def _found(request: Request, out: Path, *, overwrite: bool) -> Sidecar | None:
    """The sidecar of what is already there, if it is what is asked for."""
    settle(out)
    existing = None if overwrite else _existing(out, request)
    if existing is None:
        return None
    note = "; --overwrite tries its rejects again" if existing.sidecar.rejects else ""
    print(f"{out}: whole already, made from the same tables with the same settings{note}", file=sys.stderr)
    return existing.sidecar


def _made(request: Request, out: Path, manner: Manner) -> Sidecar:
    """Begin the beton or go on with it, and publish it."""
    unfinished = journal_path(out).exists()
    _warn_of_want(request, out)
    with (
        explained_disk_full(out),
        BetonWriter(out, request.layout, key=_journal_key(request), stamp=request.stamp) as writer,
    ):
        if unfinished:
            note = f"going on after {writer.next:,} images" if writer.next else "nothing of it can be used"
            print(f"{out}: an earlier conversion was not finished; {note}", file=sys.stderr)
        guard = RejectGuard(request.records, writer, max_rejects=manner.max_rejects, on_error=manner.on_error)
        _decode(request, writer, guard, manner.workers or default_workers())
        return publish(request, writer)


class RejectGuard:
    """Ends a conversion when more images are refused than allowed."""

    def __init__(self, records: Records, writer: BetonWriter, *, max_rejects: float, on_error: OnError) -> None:
        self._records = records
        self._max_rejects, self._on_error = max_rejects, on_error
        self._found: list[tuple[str, str]] = []
        self._total = len(records.frame) + len(records.rejects)
        for path, reason in zip(records.rejects["path"], records.rejects["reason"], strict=True):
            self.add(str(path), str(reason))
        for position, reason in writer.rejects.items():
            self.add(str(records.frame["path"].iat[position]), reason)

    def __len__(self) -> int:
        return len(self._found)

    def add(self, path: str, reason: str) -> None:
        """Count one more refused image.

        Raises:
            InputError: if it is one too many; the first few are listed on standard error.
        """
        self._found.append((path, reason))
        if self._on_error == "stop":
            raise InputError(f"{self._records.root / path}: {reason} (--on-error reject leaves such images out)")
        if len(self._found) <= self._max_rejects * self._total:
            return
        for refused, why in self._found[:SHOWN_REJECTS]:
            print(f"  {refused}: {why}", file=sys.stderr)
        raise InputError(
            f"{self._records.root}: {len(self._found):,} of {self._total:,} images cannot be used so far, more than "
            f"--max-rejects {self._max_rejects:g} allows; the last: {path}: {reason}"
        )


def _decode(request: Request, writer: BetonWriter, guard: RejectGuard, workers: int) -> None:
    first, end = writer.next, len(request)
    pool = DecodePool(
        request.records.root,
        size=request.size,
        resize=request.resize,
        large_jpeg=request.large_jpeg,
        jpeg_quality=request.jpeg_quality,
        workers=workers,
    )
    return_spare_memory()
    with pool, progress(f"converting {request.records.dataset}", end - first) as advance:
        for position, outcome in zip(range(first, end), pool.decode(request.paths(first)), strict=True):
            if isinstance(outcome, Reject):
                guard.add(request.path(position), outcome.reason)
            writer.add(outcome)
            advance(1, f"{len(guard)} rejected" if len(guard) else "")
    writer.flush()


def _warn_of_want(request: Request, out: Path) -> None:
    """Say before the work begins that the disk will not hold it; it may be made larger meanwhile, so only that."""
    out.parent.mkdir(parents=True, exist_ok=True)
    begun = work_path(out).stat().st_size if work_path(out).exists() else 0
    wanted = request.expected_bytes - begun
    free = shutil.disk_usage(out.parent).free
    if wanted > free:
        print(f"{out}: up to {wanted:,} bytes are to be written, but {free:,} are free", file=sys.stderr)


def _existing(out: Path, request: Request) -> Beton | None:
    """The beton that is already there, if it is what is asked for."""
    if not out.exists():
        return None
    try:
        beton = Beton.open(out)
    except InputError as error:
        raise InputError(f"{out} exists but cannot be used ({error}); --overwrite replaces it") from None
    if beton.sidecar.request_hash == request.hash:
        return beton
    raise InputError(
        f"{out}: a beton of {beton.sidecar.dataset} made from other tables or settings is there; "
        "choose another --out, or replace it with --overwrite"
    )


def _journal_key(request: Request) -> str:
    """Unfinished work is taken up only if the rest will be decoded by the same code."""
    text = json.dumps([request.hash, versions()], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
