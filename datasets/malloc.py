"""Large tables come in a piece at a time, and what allocators keep for later goes back to the system, or stays."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROWS_AT_ONCE = 4096
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of malloc.h."""
LARGEST_MMAP_THRESHOLD = 32 << 20
KEPT_BYTES = 256 << 20


def values_of(column: pd.Series) -> Iterator[Any]:
    """The values of a column as Python objects, a few thousand at a time: each takes 100 bytes while it lives."""
    for first in range(0, len(column), ROWS_AT_ONCE):
        yield from column.iloc[first : first + ROWS_AT_ONCE].tolist()


def packed(texts: Iterable[str]) -> pa.ChunkedArray:
    """Many texts in a quarter of the memory that they take as Python objects."""
    import pyarrow as pa

    chunks, waiting = [], iter(texts)
    while chunk := list(islice(waiting, ROWS_AT_ONCE)):
        chunks.append(pa.array(chunk, type=pa.large_string()))
    return pa.chunked_array(chunks, type=pa.large_string())


def return_spare_memory() -> None:
    """Let pyarrow and the C library give back what they hold unused; after large tables that is half of a process."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    return_freed_memory()


def return_freed_memory() -> None:
    """Let the C library alone give back what it holds unused."""
    with contextlib.suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def keep_spare_memory() -> None:
    """Let this process reuse the memory of large arrays, up to 256 MiB, where the C library would return each.

    A process that decodes one image after another otherwise spends a third of its time on having the system map and
    clear the same pages again.
    """
    with contextlib.suppress(AttributeError):  # only glibc has it
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
