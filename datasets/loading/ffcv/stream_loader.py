"""What FFCV's producer thread needs of a loader, over one beton, without FFCV's start-up costs.

FFCV's reader and its thread with its queue do the work. Left out is what a file of equal gray pages does not need:
Python dictionaries over every page (seconds and hundreds of MB for a large set, for each loader of each process),
compiling each operation again in each process, buffers that the next batches are written over, and thread settings
for all of torch. What is replaced for that is FFCV 1.0.2's; ``tests/datasets/loading/test_ffcv.py`` notices when it
changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from datasets.beton.format import FIELD_NAMES, METADATA_START
from datasets.beton.mixed import MixedBeton
from datasets.beton.pages import MappedBytes, MixedPages, Pages
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.loading.balance import samples_of
from datasets.loading.batch_writer import BatchWriter, PendingBatch
from datasets.loading.ffcv.fields import LabelsField
from datasets.loading.ffcv.imports import Reader
from datasets.loading.options import LoaderOptions
from datasets.loading.read_ahead import read_ahead
from datasets.loading.threads import num_loader_threads

BATCHES_AHEAD = 3
"""Finished batches that wait for the consumer at most."""


def open_stream(
    beton: Beton, batch_size: int, options: LoaderOptions, *, pin_memory: bool, encoded: bool
) -> StreamLoader:
    """Loader of ``batch_size`` samples at once; ``encoded`` leaves JPEG pages as they are, for a device to decode."""
    num_threads = num_loader_threads(options.num_workers)
    source = beton.open_pages(checked=options.check_pages)
    metadata = _metadata(source, beton)
    writer = BatchWriter(beton.image_size, options, num_threads=num_threads, pin_memory=pin_memory)

    def images(samples: np.ndarray, epoch: int) -> PendingBatch | list[torch.Tensor]:
        if not encoded:
            return writer.submit(source, samples, epoch)
        samples = samples_of(samples)
        source.check(samples)
        return [torch.from_numpy(source.stored(sample).copy()) for sample in samples.tolist()]

    def decode(batch_indices: np.ndarray, storage_state: int, metadata: np.ndarray) -> tuple[Any, ...]:
        """Images, labels (B, L) uint8 and draws (B,) int64 of a batch; FFCV's storage state is the epoch."""
        labels, draws = metadata["f1"][samples_of(batch_indices)], batch_indices.astype(np.int64)
        small = (torch.from_numpy(part) for part in (labels, draws))
        return images(batch_indices, storage_state), *(part.pin_memory() if pin_memory else part for part in small)

    def will_need(samples: np.ndarray) -> None:
        source.will_need(samples_of(samples))

    return StreamLoader(beton.path, metadata, batch_size, decode, partial(read_ahead, will_need=will_need))


class NoMemory(AbstractContextManager["NoMemory"]):
    """In place of FFCV's memory manager, its context for an epoch, and its graph, of which memory is asked.

    Nothing of the file is loaded or dropped, since the system's page cache does both, and no buffers are allocated:
    every batch has memory of its own, which costs less than a copy out of a ring and may be kept as long as wanted.
    """

    state = None

    def schedule_epoch(self, batches: Sequence[Sequence[int]]) -> NoMemory:
        return self

    def start_batch(self, batch: int) -> None:
        """FFCV's call before it decodes a batch."""

    def allocate_memory(self, batch_size: int, num_slots: int) -> dict[str, dict[int, Any]]:
        return {"operation": {}, "shared": {}}

    def __exit__(self, *exc: object) -> None:
        """The mapping stays: later epochs use it too."""


def _open_reader(path: Path) -> Reader:
    try:
        reader = Reader(str(path), {"labels": LabelsField})
    except (ValueError, AssertionError) as error:
        raise InputError(f"{path}: FFCV cannot read it ({error}); convert again") from error
    if tuple(reader.handlers) != FIELD_NAMES:
        raise InputError(f"{path}: fields {list(reader.handlers)}, not {list(FIELD_NAMES)}; convert again")
    return reader


def _metadata(source: Pages, beton: Beton) -> np.ndarray:
    """What FFCV's reader finds in the file; of several files, the labels of all images in the order of the whole."""
    if not isinstance(source, MixedPages):
        return _read_metadata(source.file)
    assert isinstance(beton, MixedBeton)
    for part, pages in zip(beton.parts, source.parts, strict=True):
        _metadata(pages, part)
    return beton.targets.view([("f1", "u1", len(beton.labels))])[:, 0]


def _read_metadata(file: MappedBytes) -> np.ndarray:
    """FFCV opens the path a second time; what it reads must be what is mapped.

    Raises:
        InputError: when the path leads to another file than ``file``.
    """
    reader = _open_reader(file.path)
    metadata: np.ndarray = reader.metadata
    mapped = file.data[METADATA_START : METADATA_START + metadata.nbytes]
    if len(metadata) != int(reader.num_samples) or mapped.tobytes() != metadata.tobytes():
        raise InputError(f"{file.path}: replaced while it was being opened; try again")
    return metadata


class StreamLoader:
    """What FFCV's ``EpochIterator`` reads of its ``Loader``; ``EpochProducer`` reads an epoch of it."""

    def __init__(
        self,
        path: Path,
        metadata: np.ndarray,
        batch_size: int,
        decode: Callable[..., tuple[Any, ...]],
        read_ahead: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]],
    ) -> None:
        self.path = path
        self.batch_size = batch_size
        self.batches_ahead = BATCHES_AHEAD
        self.read_ahead = read_ahead
        self.reader = SimpleNamespace(metadata=metadata)
        self.memory_manager = self.graph = NoMemory()
        # Stages, each with the names of its results, and those of them that make a batch.
        self.code = [(decode, FIELD_NAMES)], FIELD_NAMES
