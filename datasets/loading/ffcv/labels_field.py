"""Store the label vector of a sample as an FFCV field, uint8 per label, in the metadata.

FFCV offers no vector that lives in the metadata; stored there, labels need no page and no allocation entry.
Importing this module imports FFCV, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from datasets.errors import InputError
from datasets.loading.ffcv.imports import ARG_TYPE, Field, Operation, State

CUSTOM_TYPE_ID = 255
"""What FFCV stores as the type of a field that is not its own; a reader must be told the class."""


class LabelsDecoder(Operation):  # type: ignore[misc]
    """Sample indices to a (B, L) uint8 array of its own memory."""

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, None]:
        shape = (self.field.num_labels,)
        return replace(previous_state, jit_mode=False, shape=shape, dtype=np.dtype("u1")), None

    def generate_code(self) -> Callable[..., Any]:
        def decode(indices: np.ndarray, _memory: None, metadata: np.ndarray, _storage: Any) -> np.ndarray:
            labels: np.ndarray = metadata[indices]
            return labels

        return decode


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
        """Write one label vector; ``malloc`` is not needed since labels have no page.

        Raises:
            InputError: for any other dtype or length, which NumPy would cast or broadcast silently.
        """
        if field.dtype != np.uint8 or field.shape != (self.num_labels,):
            raise InputError(f"labels must be uint8 of shape ({self.num_labels},), not {field.dtype} {field.shape}")
        destination[0] = field

    def get_decoder_class(self) -> type[LabelsDecoder]:
        return LabelsDecoder
