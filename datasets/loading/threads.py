"""Count and share the threads of loaders, and compile their kernels."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

from datasets.errors import InputError

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def usable_cores() -> int:
    """Number of cores that this process may use: its affinity mask, as SLURM or taskset set it."""
    return len(os.sched_getaffinity(0))


def num_loader_threads(num_workers: int | None) -> int:
    """Threads of one loader: ``num_workers``, or all usable cores, of which there are never more.

    Raises:
        InputError: for a number below 1.
    """
    if num_workers is not None and num_workers < 1:
        raise InputError(f"num_workers = {num_workers}: must be at least 1; leave it out to use all cores")
    return min(num_workers or usable_cores(), usable_cores())


@cache
def loader_pool(num_threads: int) -> ThreadPoolExecutor:
    """The process's pool of this size, shared by all loaders that ask for it, so that threads do not pile up."""
    return ThreadPoolExecutor(num_threads, thread_name_prefix="loader")


# A forked process has none of the pool's threads.
os.register_at_fork(after_in_child=loader_pool.cache_clear)


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause Python's garbage collector, which takes a quarter of the time of importing torch, numba and FFCV."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _writable(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(1 << 16))  # a full disk takes files, but nothing in them
    except OSError:
        return False
    return True


def _place_kernel_cache(package: Path) -> None:
    """Give numba a cache folder where the package's cannot be written: in the home folder, else a temporary one."""
    import numba

    if numba.config.CACHE_DIR or _writable(package / "__pycache__"):
        return
    with contextlib.suppress(RuntimeError):  # there may be no home folder at all
        if _writable(home := Path.home() / ".cache" / "numba"):
            numba.config.CACHE_DIR = str(home)
            return
    folder = Path(tempfile.gettempdir()) / f"cxr-harness-numba-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    private = found.st_uid == os.getuid() and found.st_mode & 0o077 == 0
    # What numba reads from its cache it executes, so a folder that another user may write is not used.
    numba.config.CACHE_DIR = str(folder) if private else tempfile.mkdtemp(prefix="cxr-harness-numba-")


def compiled_kernel(function: Kernel) -> Kernel:
    """Compile a function with numba, without its threads: it releases the GIL and is cached for the next process.

    Functions that a kernel calls must live in its own file, which is all that numba's cache watches. ``fastmath``
    stays off, so that results do not depend on how the compiler vectorised them.
    """
    import numba

    _place_kernel_cache(Path(function.__code__.co_filename).parent)
    compiled: Kernel = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    return compiled
