"""Settings of the C library's allocator, the one use of ctypes here: Python has no other way to ``mallopt``."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of malloc.h."""
LARGEST_MMAP_THRESHOLD = 32 << 20
KEPT_BYTES = 256 << 20


def malloc_tuning(mmap_threshold: int = LARGEST_MMAP_THRESHOLD, kept_bytes: int = KEPT_BYTES) -> None:
    """Let this process reuse up to ``kept_bytes`` of large arrays' memory, where the C library would return each.

    A process that decodes one image after another otherwise spends a third of its time on having the system map and
    clear the same pages again.
    """
    with contextlib.suppress(AttributeError):  # only glibc has it
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, mmap_threshold)
        library.mallopt(M_TRIM_THRESHOLD, kept_bytes)


def return_freed_memory() -> None:
    """Let pyarrow and the C library give back what they hold unused; after large tables that is half of a process.

    pyarrow's pool is the system's (see ``datasets/__init__.py``), whose ``release_unused`` calls ``malloc_trim``.
    """
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
