"""Thread counts, thread pools and numba's settings of this process.

Import this module before numba or FFCV: both keep thread settings for the whole process.
"""

from __future__ import annotations

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

UNSAFE_LAYER = "workqueue"
"""numba's own pool: it aborts the process when two threads run parallel kernels at once."""


def usable_cores() -> int:
    """Number of cores that this process may use: its affinity mask, as SLURM or taskset set it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_loader_threads(num_workers: int | None) -> int:
    """Threads of one loader: ``num_workers``, or all usable cores; at most what numba can start.

    Raises:
        InputError: for a number below 1.
    """
    import numba

    if num_workers is not None and num_workers < 1:
        raise InputError(f"num_workers = {num_workers}: must be at least 1; leave it out to use all cores")
    wanted = usable_cores() if num_workers is None else num_workers
    return max(1, min(wanted, int(numba.config.NUMBA_NUM_THREADS)))


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


def choose_threading_layer() -> None:
    """Keep numba from its ``workqueue`` pool: TBB if there is one, else OpenMP. Call it before any kernel runs.

    Raises:
        InputError: when NUMBA_THREADING_LAYER asks for workqueue.
    """
    import numba

    asked = str(numba.config.THREADING_LAYER)
    if asked == UNSAFE_LAYER:
        raise InputError(
            f"NUMBA_THREADING_LAYER = {UNSAFE_LAYER}: this pool aborts the process when training and evaluation "
            "data are read at once; unset the variable, or set it to tbb or omp"
        )
    if asked == "default":
        numba.config.THREADING_LAYER = "threadsafe"


def start_numba_threads(num_threads: int) -> None:
    """Let numba's parallel kernels in the calling thread use ``num_threads`` threads, started if need be.

    Raises:
        InputError: when no thread pool is at hand that several loaders can share.
    """
    import numba

    choose_threading_layer()
    try:
        numba.set_num_threads(num_threads)
        layer = numba.threading_layer()
    except ValueError as error:
        raise InputError(f"numba cannot start its threads ({error}); install libtbb12 or libgomp1") from error
    if layer == UNSAFE_LAYER:
        raise InputError("numba runs on its workqueue pool, which aborts the process; install libtbb12 or libgomp1")


def _writable(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(existing, os.W_OK)


def _place_kernel_cache(package: Path) -> None:
    """Give numba a cache folder where neither the package nor the home folder can be written."""
    import numba

    if numba.config.CACHE_DIR or _writable(package / "__pycache__") or _writable(Path.home() / ".cache"):
        return
    folder = Path(tempfile.gettempdir()) / f"cxr-harness-numba-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    private = found.st_uid == os.getuid() and found.st_mode & 0o077 == 0
    # What numba reads from its cache it executes, so a folder that another user may write is not used.
    numba.config.CACHE_DIR = str(folder) if private else tempfile.mkdtemp(prefix="cxr-harness-numba-")


def compiled_kernel(function: Kernel) -> Kernel:
    """Compile a function with numba: it releases the GIL and is cached on disk for the next process.

    Functions that a kernel calls must live in its own file, which is all that numba's cache watches. ``fastmath``
    stays off, so that results do not depend on how the compiler vectorised them.
    """
    import numba

    choose_threading_layer()
    _place_kernel_cache(Path(function.__code__.co_filename).parent)
    compiled: Kernel = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    return compiled
