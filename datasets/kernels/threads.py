"""How many threads, of which kind: the process's CPU mask comes in, limits for numba and torch go out.

FFCV and numba keep thread settings for the whole process and change torch's as well; this module is where that is
held in check. Import it before anything that imports numba or FFCV.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from datasets.errors import InputError

Kernel = TypeVar("Kernel", bound=Callable[..., object])

UNSAFE_LAYER = "workqueue"
"""numba's own pool: it aborts the process as soon as two loaders are read at once."""

ANY_WIDTH = "-prefer-256-bit"
"""How LLVM is told not to keep to vectors of 256 bits."""


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


@contextmanager
def keeping_torch_threads() -> Iterator[None]:
    """Undo what the block does to torch's thread count; ``import ffcv`` sets it to one."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def choose_threading_layer() -> None:
    """Keep numba from its ``workqueue`` pool: TBB if there is one, else OpenMP. To be called before any kernel runs.

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
    """Let kernels of the calling thread use ``num_threads`` threads, started if need be.

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


def _place_kernel_cache() -> None:
    """Give numba a cache folder where neither the package nor the home folder can be written."""
    import numba

    beside = Path(__file__).parent / "__pycache__"
    if numba.config.CACHE_DIR or _writable(beside) or _writable(Path.home() / ".cache"):
        return
    folder = Path(tempfile.gettempdir()) / f"cxr-harness-numba-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    private = found.st_uid == os.getuid() and found.st_mode & 0o077 == 0
    # What numba reads from its cache it executes, so a folder that another user may write is not used.
    numba.config.CACHE_DIR = str(folder) if private else tempfile.mkdtemp(prefix="cxr-harness-numba-")


def _allow_wide_vectors() -> None:
    """Let kernels use vectors of 512 bits where the processor has them, unless the user has chosen its features.

    LLVM keeps to 256 bits on Intel's, since the first of them slow down for wide ones. On just those (Cascade Lake)
    the loader's kernels are 12 to 18 % faster with them. Settled for a process by the first kernel that is made.
    """
    import numba
    from llvmlite import binding  # type: ignore[import-untyped]

    chosen = numba.config.CPU_FEATURES is not None or numba.config.CPU_NAME is not None
    features = binding.get_host_cpu_features()
    if not chosen and numba.config.ENABLE_AVX and features.get("avx512f"):
        numba.config.CPU_FEATURES = f"{features.flatten()},{ANY_WIDTH}"


def inlined_kernel(function: Kernel) -> Kernel:
    """Compile a kernel or a piece of one with numba: no GIL, kept on disk so that the next process starts at once.

    A piece must live in the kernel's own file, which is what numba's cache watches. ``fastmath`` stays off, so that a
    kernel's numbers do not depend on how the compiler vectorised it.
    """
    return _compile(function)


def merged_kernel(function: Kernel) -> Kernel:
    """Like ``inlined_kernel``, but always made part of its callers: for loops whose state shall stay in registers."""
    return _compile(function, forceinline=True)


def _compile(function: Kernel, *, forceinline: bool = False) -> Kernel:
    import numba

    choose_threading_layer()
    _place_kernel_cache()
    _allow_wide_vectors()
    options = {"nogil": True, "cache": True, "error_model": "numpy", "forceinline": forceinline}
    compiled: Kernel = numba.njit(**options)(function)
    return compiled
