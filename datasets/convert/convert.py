"""Convert records with their splits to a beton, its samples table and its sidecar: whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

import numpy as np

from datasets.beton.reader import Beton
from datasets.beton.sidecar import Sidecar
from datasets.beton.writer import BetonWriter, journal_path, work_path
from datasets.convert.pool import DecodePool
from datasets.convert.protocol import Reject
from datasets.convert.publish import publish, settle, versions
from datasets.convert.request import ConvertOptions, Request
from datasets.errors import InputError, one_line
from datasets.files import disk_full_as_input_error, output_file
from datasets.loading.threads import usable_cores
from datasets.malloc import return_freed_memory
from datasets.progress import progress
from datasets.sources.records import SHOWN, Records, RejectGuard

logger = logging.getLogger(__name__)


def convert(
    records: Records, splits: np.ndarray, ranks: np.ndarray, out: Path, options: ConvertOptions | None = None
) -> Sidecar:
    """Decode every image of ``records`` to a square page and write the beton ``out``.

    A beton that an equal request made is left as it is, and an interrupted conversion resumes where it was. The bytes
    written do not depend on the number of workers.

    Args:
        records: candidates, sorted by path.
        splits: (N,) of str.
        ranks: (N,) int64, see ``datasets.splits.split.subset_ranks``.
        out: path of the beton; its companions lie beside it.
        options: what is stored and how it is done.

    Raises:
        InputError: too many rejects, ``out`` exists and is another beton, the disk is full.
    """
    options, out = options or ConvertOptions(), output_file(Path(out))
    request = Request(records, np.asarray(splits), np.asarray(ranks), options)
    settle(out)
    existing = None if options.overwrite else existing_beton(out, request)
    if existing is not None:
        note = "; --overwrite tries its rejects again" if existing.sidecar.rejects else ""
        logger.info("%s: whole already, made from the same tables with the same settings%s", out, note)
        return existing.sidecar
    return _write(request, out)


def existing_beton(out: Path, request: Request) -> Beton | None:
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


def _write(request: Request, out: Path) -> Sidecar:
    """Begin the beton or resume it, and publish it."""
    unfinished = journal_path(out).exists()
    _warn_of_small_disk(request, out)
    with (
        disk_full_as_input_error(out),
        BetonWriter(out, request.layout, key=_journal_key(request), stamp=request.stamp) as writer,
    ):
        if unfinished:
            note = (
                f"resuming after {writer.next:,} images" if writer.next else "no part of it is whole, it begins anew"
            )
            logger.info("%s: an earlier conversion was not finished; %s", out, note)
        stop = request.options.on_error == "stop"
        guard = RejectGuard(request.records, request.options.max_rejects, stop_at_first=stop)
        for position, reason in writer.rejects.items():
            guard.add(request.path(position), reason)
        _decode(request, writer, guard)
        sidecar = publish(request, writer)
    unknown = [label for label, count in sidecar.ignored.items() if count == sidecar.num_samples]
    if unknown:
        logger.warning("%s: ignored in every image, so never learnt: %s", out, ", ".join(unknown))
    return sidecar


def _decode(request: Request, writer: BetonWriter, guard: RejectGuard) -> None:
    """Decode what the writer does not have yet."""
    first, end, options = writer.next, len(request), request.options
    pool = DecodePool(request.records.root, options.decode_spec, workers=options.workers or usable_cores())
    return_freed_memory()
    warned = 0
    with pool, progress(f"converting {request.records.dataset}", end - first) as advance:
        for position, outcome in zip(range(first, end), pool.decode(request.paths(first)), strict=True):
            if isinstance(outcome, Reject):
                guard.add(request.path(position), outcome.reason)
            elif outcome.warning:
                warned += 1
                if warned <= SHOWN:
                    logger.warning("%s: %s", one_line(request.path(position)), outcome.warning)
            writer.add(outcome)
            advance(1, f"{len(guard)} rejected" if len(guard) else "")
    writer.flush()
    if warned > SHOWN:
        logger.warning("%s images in all were converted with such a warning", f"{warned:,}")


def _warn_of_small_disk(request: Request, out: Path) -> None:
    """Warn before the work begins that the disk will not hold it; it may be made larger meanwhile."""
    out.parent.mkdir(parents=True, exist_ok=True)
    begun = work_path(out).stat().st_size if work_path(out).exists() else 0
    wanted = request.expected_bytes - begun
    free = shutil.disk_usage(out.parent).free
    if wanted > free:
        logger.warning("%s: up to %s bytes are to be written, but %s are free", out, f"{wanted:,}", f"{free:,}")


def _journal_key(request: Request) -> str:
    """Key under which unfinished work is resumed: only if the rest will be decoded by the same code."""
    text = json.dumps([request.hash, versions()], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
