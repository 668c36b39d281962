"""Complete a beton: write its head, samples table and sidecar, check its pages, rename all into place."""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datasets.beton.content_hash import content_hash, count_labels, count_splits
from datasets.beton.journal import Journal
from datasets.beton.sidecar import (
    FORMAT_VERSION,
    SAMPLE_COLUMNS,
    FileFacts,
    Sidecar,
    samples_path,
    sidecar_path,
    uncertain_column,
    write_sidecar,
)
from datasets.beton.writer import BetonWriter, journal_path, work_path
from datasets.convert.request import Request
from datasets.errors import InputError
from datasets.files import remove_partials, replacing, sync
from datasets.sources.labels import IGNORED, POSITIVE
from datasets.sources.records import Records
from datasets.sources.rows import REJECT_COLUMNS


def publish(request: Request, writer: BetonWriter) -> Sidecar:
    """Complete the beton, read its pages back, write its companions, and rename all three into place.

    The sidecar goes last: without one a beton is refused, so a kill between the renames leaves nothing that misleads.

    Raises:
        InputError: if no image could be used, or the disk is full.
    """
    if not writer.accepted:
        raise InputError(f"{writer.path}: none of the {len(writer.rejects):,} images could be used")
    targets = request.records.targets[np.asarray(writer.accepted)]
    writer.finish(targets)
    writer.check_pages()
    samples = sample_table(request, writer)
    labels, size = request.records.labels, request.options.size
    content = content_hash(samples, targets, writer.digests(), labels=labels, image_size=size)
    table = _parquet(samples, content)
    facts = FileFacts(
        bytes=writer.final_layout.file_bytes(len(targets)),
        page_size=writer.final_layout.block_bytes,
        head_crc32=zlib.crc32(writer.final_layout.head(targets)),
        samples_sha256=hashlib.sha256(table).hexdigest(),
    )
    sidecar = _describe(request, writer, samples, targets, content, facts)
    path = writer.path
    sidecar_path(path).unlink(missing_ok=True)
    for companion in (samples_path(path), sidecar_path(path)):
        remove_partials(companion)
    with replacing(samples_path(path)) as partial:
        partial.write_bytes(table)
    work_path(path).replace(path)
    write_sidecar(path, sidecar)
    sync(path.parent)
    journal_path(path).unlink()
    return sidecar


def settle(path: Path) -> None:
    """Undo the renames of a conversion that was killed between them, or tidy up after the last of them.

    Raises:
        InputError: if another process is converting to ``path`` now.
    """
    journal = journal_path(path)
    if not journal.exists() or not path.exists() or work_path(path).exists():
        return
    with Journal(journal, key=""):
        if sidecar_path(path).exists():
            journal.unlink()
        else:
            path.replace(work_path(path))


def sample_table(request: Request, writer: BetonWriter) -> pd.DataFrame:
    """Rows of the accepted images in index order. Ranks close up over rejects, so subset n still has n images."""
    accepted = np.asarray(writer.accepted)
    records = request.records
    samples = records.frame.iloc[accepted][[*SAMPLE_COLUMNS, *records.attributes]].reset_index(drop=True)
    samples = samples.astype(dict.fromkeys(("view", "sex", *records.attributes), "str"))
    ranks = np.asarray(request.ranks, dtype=np.int64)[accepted]
    ranked = np.flatnonzero(ranks >= 0)
    closed = np.full(len(ranks), -1, dtype=np.int64)
    closed[ranked[np.argsort(ranks[ranked], kind="stable")]] = np.arange(len(ranked))
    samples.insert(0, "index", np.arange(len(accepted)))
    samples.insert(6, "split", np.asarray(request.splits)[accepted].astype(str))
    samples.insert(7, "subset_rank", closed)
    samples.insert(8, "crc32", np.asarray(writer.crc32, dtype=np.uint32))
    return samples if records.uncertain_at is None else pd.concat([samples, _uncertain(records, accepted)], axis=1)


def _uncertain(records: Records, accepted: np.ndarray) -> pd.DataFrame:
    """A column of booleans for each label that the tables call uncertain at some image."""
    assert records.uncertain_at is not None
    marks = pd.DataFrame(records.uncertain_at[accepted], columns=[uncertain_column(name) for name in records.labels])
    return marks.loc[:, marks.any()]


def versions() -> dict[str, str]:
    """Versions of what decides the pixels."""
    from importlib.metadata import version

    return {name: version(name) for name in ("cxr-harness", "kornia-rs", "numpy", "pillow", "simplejpeg")}


def _describe(
    request: Request, writer: BetonWriter, samples: pd.DataFrame, targets: np.ndarray, content: str, facts: FileFacts
) -> Sidecar:
    records = request.records
    rows = records.rejects.astype(str).itertuples(index=False)
    refused = [
        {name: text for name, text in zip(REJECT_COLUMNS, row, strict=True) if text or name == "path"} for row in rows
    ]
    refused += [{"path": request.path(position), "reason": reason} for position, reason in writer.rejects.items()]
    return Sidecar(
        format_version=FORMAT_VERSION,
        dataset=records.dataset,
        image_size=request.options.size,
        num_samples=len(samples),
        num_patients=int(samples["patient"].nunique()),
        labels=tuple(records.labels),
        positives=count_labels(targets, records.labels, POSITIVE),
        ignored=count_labels(targets, records.labels, IGNORED),
        splits=count_splits(samples["split"]),
        content_hash=content,
        request_hash=request.hash,
        file=facts,
        source_tables=[asdict(table) for table in records.tables],
        settings=request.settings,
        dropped=dict(records.dropped),
        rejects=refused,
        versions=versions(),
    )


def _parquet(samples: pd.DataFrame, content: str) -> bytes:
    """The samples table as Parquet bytes, bound to the beton by its content hash."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(samples, preserve_index=False)
    metadata: dict[Any, Any] = {**(table.schema.metadata or {}), b"content_hash": content.encode()}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer)
    return buffer.getvalue()
