"""Large tables come in a piece at a time, and memory that allocators keep for later goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ROWS_AT_ONCE = 4096


def values_of(column: pd.Series) -> Iterator[Any]:
    """The values of a column as Python objects, a few thousand at a time: each takes 100 bytes while it lives."""
    for first in range(0, len(column), ROWS_AT_ONCE):
        yield from column.iloc[first : first + ROWS_AT_ONCE].tolist()


def return_spare_memory() -> None:
    """Let pyarrow and the C library give back what they hold unused; after large tables that is half of a process."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with contextlib.suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
