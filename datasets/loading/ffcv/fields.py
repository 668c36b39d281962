"""The labels' field of a beton, for FFCV's own reader, writer and loader.

FFCV offers no vector that lives in the metadata, where labels need no page and no allocation entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from datasets.errors import InputError
from datasets.loading.ffcv.imports import ARG_TYPE, Field, Operation, State


class LabelsDecoder(Operation):  # type: ignore[misc]
    """Labels as a (B, L) uint8 array, for FFCV's own loader, which compiles the code."""

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, None]:
        return replace(previous_state, jit_mode=False), None

    def generate_code(self) -> Callable[..., Any]:
        return lambda indices, _memory, metadata, _epoch: metadata[indices]


class LabelsField(Field):  # type: ignore[misc]
    """A vector of ``num_labels`` bytes per sample: 0 negative, 1 positive, 255 ignored."""

    def __init__(self, num_labels: int) -> None:
        if num_labels < 1:
            raise InputError(f"a sample needs at least one label, not {num_labels}")
        self.num_labels = num_labels

    @property
    def metadata_type(self) -> np.dtype[Any]:
        return np.dtype(("<u1", (self.num_labels,)))

    def to_binary(self) -> Any:
        """The 1,024 bytes of arguments in the file: the number of labels as a little-endian int32, then zeros."""
        arguments = np.zeros(1, dtype=ARG_TYPE)[0]
        arguments[0][:4] = np.array([self.num_labels], dtype="<i4").view("u1")
        return arguments

    @staticmethod
    def from_binary(binary: Any) -> LabelsField:
        raw = np.ascontiguousarray(binary).view("u1").reshape(-1)
        return LabelsField(int(raw[:4].view("<i4")[0]))

    def encode(self, destination: Any, field: np.ndarray, malloc: Callable[[int], Any]) -> None:
        """Write one label vector, for FFCV's own writer; labels have no page, so ``malloc`` is not needed."""
        destination[0] = field

    def get_decoder_class(self) -> type[LabelsDecoder]:
        return LabelsDecoder
