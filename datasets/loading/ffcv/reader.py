"""FFCV's loader without its start-up costs: a beton and decoders come in, a source of epochs goes out.

FFCV's reader, graph, pipelines and producer thread do the work. Left out is what a file of equal gray pages does not
need: Python dictionaries over every page (seconds and hundreds of MB for a large set, for each loader of each
process), compiling each operation again in each process, and thread settings for all of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.beton.format import FIELD_NAMES, METADATA_START
from datasets.beton.mapped_file import MappedBytes
from datasets.errors import InputError
from datasets.loading.ffcv.imports import Graph, Loader, MemoryContext, MemoryManager, Operation, PipelineSpec, Reader
from datasets.loading.ffcv.labels_field import LabelsField

BATCHES_AHEAD = 3
"""Finished batches that wait for the consumer at most."""


class MappedFile(MemoryContext):  # type: ignore[misc]
    """The mapped file as FFCV's memory: nothing is loaded or dropped, since the system's page cache does both."""

    def __init__(self, file: MappedBytes) -> None:
        self.file = file

    @property
    def state(self) -> np.ndarray:
        """The whole file as uint8."""
        return self.file.data

    def start_batch(self, batch: int) -> None:
        """FFCV's call before it decodes a batch."""
        self.file.check()

    def __enter__(self) -> MappedFile:
        return self

    def __exit__(self, *_: object) -> None:
        """The mapping stays: later epochs use it too."""


class MappedFileManager(MemoryManager):  # type: ignore[misc]
    """FFCV's memory manager for images whose place follows from the metadata alone."""

    def __init__(self, file: MappedBytes) -> None:
        self.context = MappedFile(file)

    def schedule_epoch(self, batches: Sequence[Sequence[int]]) -> MappedFile:
        return self.context

    def compile_reader(self) -> None:
        """Decoders slice the mapped file themselves."""

    @property
    def state_type(self) -> None:
        return None


class PlainGraph(Graph):  # type: ignore[misc]
    """A graph whose operations are called as plain functions, each calling a kernel that is compiled already.

    FFCV compiles stages with even numbers anew in each process; here all operations are in stage 1.
    """

    def group_operations(self) -> list[list[int]]:
        return [[], [node.id for node in self.nodes]]


def _open_reader(path: Path) -> Reader:
    try:
        reader = Reader(str(path), {"labels": LabelsField})
    except (ValueError, AssertionError) as error:
        raise InputError(f"{path}: FFCV cannot read it ({error}); convert again") from error
    if tuple(reader.handlers) != FIELD_NAMES:
        raise InputError(f"{path}: fields {list(reader.handlers)}, not {list(FIELD_NAMES)}; convert again")
    return reader


class StreamLoader(Loader):  # type: ignore[misc]
    """FFCV's ``Loader`` over one beton, with given decoders; ``SafeEpochIterator`` reads an epoch of it.

    Raises:
        InputError: when the path leads to another file than ``file``.
    """

    def __init__(
        self, file: MappedBytes, *, batch_size: int, num_workers: int, decoders: dict[str, Operation]
    ) -> None:
        # FFCV's own __init__ is not called: it does what the module's text says is left out. The attributes below
        # are those that FFCV's EpochIterator and Graph read.
        self.path = file.path
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.batches_ahead = BATCHES_AHEAD
        self.reader = _open_reader(file.path)
        self.memory_manager = MappedFileManager(file)
        self._check_metadata()
        specs = {name: PipelineSpec(name, decoder=decoders[name]) for name in FIELD_NAMES}
        positions = {name: position for position, name in enumerate(FIELD_NAMES)}
        self.graph = PlainGraph(specs, self.reader.handlers, positions, self.reader.metadata, None)
        self.generate_code()

    @property
    def num_samples(self) -> int:
        return int(self.reader.num_samples)

    def _check_metadata(self) -> None:
        """FFCV opens the path a second time; what it reads must be what is mapped."""
        metadata = self.reader.metadata
        mapped = self.memory_manager.context.state[METADATA_START : METADATA_START + metadata.nbytes]
        if len(metadata) != self.num_samples or mapped.tobytes() != metadata.tobytes():
            raise InputError(f"{self.path}: replaced while it was being opened; try again")
