"""A kernel and a number of images come in; several threads work on them together until all are done.

numba's own parallel loops are not used. With its TBB pool each of them keeps 7 kB for ever (numba issue 10225), its
OpenMP pool burns the cores that it waits on, and both hold up a batch until the last of their threads has woken. Here
the calling thread begins at once, helpers join when they wake, and whoever is free takes the next image.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
from numba import types

from datasets.kernels.addresses import add_atomically
from datasets.kernels.threads import inlined_kernel

CACHE_LINE = 8
"""Numbers of 8 bytes in one; the two counters lie apart, so that threads do not take the line from each other."""

Array = Any
_yield = types.ExternalFunction("sched_yield", types.int32())


def new_tasks() -> np.ndarray:
    """Counters (16,) int64 of images taken and of images done, which a kernel gets as its last argument."""
    return np.zeros(2 * CACHE_LINE, dtype=np.int64)


@inlined_kernel
def _wait(tasks: Array, count: int) -> None:
    """Until ``count`` images are done; those that are not are being worked on at this moment."""
    done = np.int64(tasks.ctypes.data + 8 * CACHE_LINE)
    while add_atomically(done, 0) < count:
        _yield()


class Helpers:
    """Threads of this process that wait for kernels to run; started when first wanted, and kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = SimpleQueue()
        self._threads = 0

    def call(self, num: int, kernel: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        """Let ``num`` threads run the kernel as soon as they are free."""
        if self._threads < num:
            self._start(num)
        for _ in range(num):
            self._calls.put((kernel, arguments))

    def _start(self, num: int) -> None:
        with self._lock:
            while self._threads < num:
                name = f"loader-helper-{self._threads}"
                threading.Thread(target=_help, args=(self._calls,), name=name, daemon=True).start()
                self._threads += 1


def _help(calls: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
    while True:
        kernel, arguments = calls.get()
        kernel(*arguments)
        del kernel, arguments


_helpers = Helpers()
_held: dict[int, object] = {}
"""What kernels that run have been given the addresses of; an entry outlives its call only if that is interrupted."""


def _forget() -> None:
    """A forked process has no threads but the one that forked."""
    global _helpers
    _helpers = Helpers()


os.register_at_fork(after_in_child=_forget)


def help_with(num: int, work: Callable[..., None], *arguments: Any) -> None:
    """Let ``num`` helpers do ``work(*arguments)`` as soon as they are free."""
    _helpers.call(num, work, arguments)


class _Memory:
    """Memory of another's, for ``np.asarray``."""

    def __init__(self, array: np.ndarray) -> None:
        self.__array_interface__ = array.__array_interface__


def unowned(array: np.ndarray) -> np.ndarray:
    """The same memory as an array that does not keep it alive: an argument for helpers, whose owner is ``held``."""
    return np.asarray(_Memory(array))


class SharedWork:
    """A kernel that helpers have begun; ``finish`` is to be called once, whatever happens."""

    def __init__(self, kernel: Callable[..., None], arguments: tuple[Any, ...], count: int, held: object) -> None:
        self._kernel, self._count = kernel, count
        self._tasks = new_tasks()
        self._arguments = (*arguments, self._tasks)
        self._ticket = id(self._tasks)
        _held[self._ticket] = held

    def begin(self, num_helpers: int) -> None:
        """Let that many helpers start as soon as they are free."""
        _helpers.call(num_helpers, self._kernel, self._arguments)

    def finish(self) -> None:
        """Take part until all images are done."""
        self._kernel(*self._arguments)
        _wait(self._tasks, self._count)
        del _held[self._ticket]


def begin_to_share(
    kernel: Callable[..., None], *arguments: Any, count: int, num_threads: int, held: object
) -> SharedWork:
    """Have helpers begin; the calling thread joins them when it asks for the work to be finished.

    So the next batch is under way while the one before is finished and handed over, and no helper has to wait for
    the last image of a batch.

    Args:
        kernel: compiled, without the GIL; takes image after image by ``tasks`` until none of ``count`` is left.
        arguments: for the kernel. A helper that comes too late may keep them a little longer, so memory that shall be
            free at once is given by address, or ``unowned``.
        count: images.
        num_threads: the calling one included.
        held: owner of such memory.
    """
    work = SharedWork(kernel, arguments, count, held)
    work.begin(min(num_threads, count) - 1)
    return work
