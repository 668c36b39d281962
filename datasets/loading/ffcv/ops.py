"""FFCV operations that decode a batch: sample indices to tensors of the batch's own memory.

FFCV's own decoders write views into a small ring of buffers that it overwrites; these write each batch into memory
that is its own (``datasets.loading.buffers``), which costs less than a copy out of the ring and may be kept for as
long as wanted. With CUDA the memory is page-locked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from datasets.loading.batch_writer import BatchWriter, PendingBatch
from datasets.loading.ffcv.imports import Operation, State
from datasets.loading.page_source import JpegPages, PageSource

Decode = Callable[[np.ndarray, None, np.ndarray, int], Any]
"""Sample indices (B,), FFCV's buffer (unused), the field's metadata and the storage state, here an epoch's number."""


class BatchOperation(Operation):  # type: ignore[misc]
    """Base of decoders that are plain Python and allocate for themselves, so that FFCV keeps no buffers for them."""

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, None]:
        return replace(previous_state, jit_mode=False), None


class MetadataDecoder(BatchOperation):
    """Fields that live in the metadata, as they are: labels (B, L) uint8 or sample indices (B,) int64."""

    def __init__(self, *, pin_memory: bool) -> None:
        super().__init__()
        self.pin_memory = pin_memory

    def generate_code(self) -> Decode:
        def decode(indices: np.ndarray, _memory: None, metadata: np.ndarray, _epoch: int) -> torch.Tensor:
            values = torch.from_numpy(metadata[indices])
            return values.pin_memory() if self.pin_memory else values

        return decode


class ImageDecoder(BatchOperation):
    """Images as ``writer`` makes them of the pages of ``source``: a ``PendingBatch``."""

    def __init__(self, source: PageSource, writer: BatchWriter) -> None:
        super().__init__()
        self.source, self.writer = source, writer

    def generate_code(self) -> Decode:
        def decode(indices: np.ndarray, _memory: None, _metadata: np.ndarray, epoch: int) -> PendingBatch:
            return self.writer.submit(self.source, indices, epoch)

        return decode


class JpegBytes(BatchOperation):
    """The JPEGs themselves, for a device that decodes them: a list of uint8 tensors."""

    def __init__(self, source: JpegPages) -> None:
        super().__init__()
        self.source = source

    def generate_code(self) -> Decode:
        def decode(indices: np.ndarray, _memory: None, _metadata: np.ndarray, _epoch: int) -> list[torch.Tensor]:
            self.source.file.check()
            return [torch.from_numpy(self.source.encoded(sample).copy()) for sample in indices.tolist()]

        return decode
