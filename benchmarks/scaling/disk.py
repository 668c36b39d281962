"""Read a file from its disk: its sequential rate, and the system's cache emptied of it."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import NamedTuple

READ_BYTES = 8 << 20
"""Of one sequential read."""


class DiskRate(NamedTuple):
    """How fast a file came from its disk, one large read after another."""

    num_bytes: int
    seconds: float
    by: str
    """``O_DIRECT`` past the cache, or ``posix_fadvise`` where the file system has no such reads."""

    @property
    def per_s(self) -> float:
        """Bytes per second."""
        return self.num_bytes / self.seconds


def drop_from_cache(path: Path) -> None:
    """Have the system forget a file, as far as no process has mapped it; what is not yet on the disk is written."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def sequential_rate(path: Path) -> DiskRate:
    """Read a whole file that is not in the cache."""
    drop_from_cache(path)
    try:
        return _read(path, os.O_DIRECT, "O_DIRECT")
    except OSError:
        drop_from_cache(path)
        return _read(path, 0, "posix_fadvise")


def _read(path: Path, flags: int, by: str) -> DiskRate:
    memory, num_bytes = mmap.mmap(-1, READ_BYTES), 0
    file = os.open(path, os.O_RDONLY | flags)
    try:
        started = time.perf_counter()
        while found := os.readv(file, [memory]):
            num_bytes += found
        return DiskRate(num_bytes, time.perf_counter() - started, by)
    finally:
        os.close(file)


def bytes_from_disks() -> int:
    """Bytes that this process has had read from disks so far; 0 where the system does not count them."""
    counts = Path("/proc/self/io")
    for line in counts.read_text().splitlines() if counts.exists() else ():
        name, _, value = line.partition(": ")
        if name == "read_bytes":
            return int(value)
    return 0
