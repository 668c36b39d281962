"""FFCV's loader over one beton, without its start-up costs.

FFCV's reader, graph, pipelines and producer thread do the work. Left out is what a file of equal gray pages does not
need: Python dictionaries over every page (seconds and hundreds of MB for a large set, for each loader of each
process), compiling each operation again in each process, and thread settings for all of torch. What is overridden
for that is FFCV 1.0.2's; ``tests/datasets/loading/test_ffcv.py`` notices when it changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from datasets.beton.format import FIELD_NAMES, METADATA_START
from datasets.beton.pages import JpegPages, MappedBytes
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.loading.balance import samples_of
from datasets.loading.batch_writer import BatchWriter, PendingBatch
from datasets.loading.ffcv.fields import BatchDecoder, LabelsField, draws_decoder, labels_decoder
from datasets.loading.ffcv.imports import Graph, Loader, MemoryContext, MemoryManager, PipelineSpec, Reader
from datasets.loading.options import LoaderOptions
from datasets.loading.threads import num_loader_threads

BATCHES_AHEAD = 3
"""Finished batches that wait for the consumer at most."""


def open_stream(
    beton: Beton, batch_size: int, options: LoaderOptions, *, pin_memory: bool, encoded: bool
) -> StreamLoader:
    """Loader of ``batch_size`` samples at once; ``encoded`` leaves JPEG pages as they are, for a device to decode."""
    num_threads = num_loader_threads(options.num_workers)
    source = beton.open_pages()

    def jpegs(samples: np.ndarray, _metadata: np.ndarray, _epoch: int) -> list[torch.Tensor]:
        assert isinstance(source, JpegPages), "raw pages need no decoder"
        source.file.check()
        return [torch.from_numpy(source.encoded(sample).copy()) for sample in samples_of(samples).tolist()]

    writer = BatchWriter(beton.image_size, options, num_threads=num_threads, pin_memory=pin_memory)

    def images(samples: np.ndarray, _metadata: np.ndarray, epoch: int) -> PendingBatch:
        return writer.submit(source, samples, epoch)

    decoders = {
        "image": BatchDecoder(jpegs if encoded else images),
        "labels": labels_decoder(pin_memory=pin_memory),
        "index": draws_decoder(pin_memory=pin_memory),
    }
    return StreamLoader(source.file, batch_size=batch_size, num_workers=num_threads, decoders=decoders)


class NoContext(MemoryContext):  # type: ignore[misc]
    """FFCV's view of the file's memory: none is loaded or dropped, since the system's page cache does both."""

    state = None

    def start_batch(self, batch: int) -> None:
        """FFCV's call before it decodes a batch."""

    def __enter__(self) -> NoContext:
        return self

    def __exit__(self, *_: object) -> None:
        """The mapping stays: later epochs use it too."""


class NoMemoryManager(MemoryManager):  # type: ignore[misc]
    """FFCV's memory manager where decoders read the mapped file themselves; FFCV's own indexes every page."""

    def __init__(self) -> None:
        """FFCV's builds dictionaries over all pages here."""

    def schedule_epoch(self, batches: Sequence[Sequence[int]]) -> NoContext:
        return NoContext()

    def compile_reader(self) -> None:
        """Nothing is read by FFCV's compiled code."""

    @property
    def state_type(self) -> None:
        return None


class PlainGraph(Graph):  # type: ignore[misc]
    """A graph whose operations are called as plain Python; FFCV compiles stages of even number in each process."""

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
    """FFCV's ``Loader`` over one beton, with given decoders; ``EpochProducer`` reads an epoch of it.

    Raises:
        InputError: when the path leads to another file than ``file``.
    """

    def __init__(
        self, file: MappedBytes, *, batch_size: int, num_workers: int, decoders: dict[str, BatchDecoder]
    ) -> None:
        # FFCV's own __init__ does what the module's text says is left out, so it is not called. The attributes below
        # are those that FFCV's EpochIterator and Graph read.
        self.path = file.path
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.batches_ahead = BATCHES_AHEAD
        self.reader = _open_reader(file.path)
        self.memory_manager = NoMemoryManager()
        self._check_metadata(file)
        specs = {name: PipelineSpec(name, decoder=decoders[name]) for name in FIELD_NAMES}
        positions = {name: position for position, name in enumerate(FIELD_NAMES)}
        self.graph = PlainGraph(specs, self.reader.handlers, positions, self.reader.metadata, None)
        self.generate_code()

    def _check_metadata(self, file: MappedBytes) -> None:
        """FFCV opens the path a second time; what it reads must be what is mapped."""
        metadata = self.reader.metadata
        mapped = file.data[METADATA_START : METADATA_START + metadata.nbytes]
        if len(metadata) != int(self.reader.num_samples) or mapped.tobytes() != metadata.tobytes():
            raise InputError(f"{self.path}: replaced while it was being opened; try again")
