"""A shape comes in, a tensor of memory of its own goes out; the memory returns when its last holder is gone.

Fresh memory costs as much as filling it: the kernel maps and clears every page of it. So blocks are used again, but
only after the tensor that was made of a block, and every view of that tensor, has been dropped.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
from contextlib import suppress
from sys import getrefcount

import numpy as np
import torch

KEPT_BLOCKS = 8
"""Unused blocks that are kept for long."""
KNOWN_BLOCKS = 64
"""Of more, the oldest are forgotten; that happens only if the consumer keeps as many batches."""
READY_TENSORS = 16
"""Tensors that are made at once for a block that is used again."""
HUGE_PAGE_BYTES = 1 << 21


class _Block:
    """Memory and the tensors that are ready to be handed out for all of it."""

    __slots__ = ("memory", "ready", "shape")

    def __init__(self, memory: np.ndarray) -> None:
        self.memory, self.shape = memory, memory.shape
        self.ready: list[torch.Tensor] = []

    def is_unused(self) -> bool:
        """Whether nothing holds the memory but this and what is ready.

        Every tensor made of a block holds it until the last view of that tensor is gone. That is asked for by
        counting, since whatever told it instead would be code that runs when a batch is dropped, and a Ctrl-C that
        arrives in such code is printed and forgotten.
        """
        return getrefcount(self.memory) == _ALONE + len(self.ready)

    def whole(self) -> torch.Tensor | None:
        """A tensor of all the memory if that is unused.

        To make one takes a microsecond, but ten right after a batch was copied, which has driven torch's code out of
        the core's cache; so several are made at once.
        """
        ready = self.ready
        if getrefcount(self.memory) != _ALONE + len(ready):  # is_unused, less a call, which takes a microsecond there
            return None
        if not ready:
            ready.extend([torch.from_numpy(self.memory) for _ in range(READY_TENSORS)])
        return ready.pop()


class BatchMemory:
    """Source of uninitialised uint8 tensors for one loader.

    With ``pin_memory`` torch's own cache of page-locked blocks serves: it also waits for copies to the device.
    """

    def __init__(self, *, pin_memory: bool) -> None:
        self.pin_memory = pin_memory
        self._known: list[_Block] = []

    def take(self, shape: tuple[int, ...]) -> torch.Tensor:
        """A contiguous uint8 tensor of this shape with arbitrary content.

        Raises:
            MemoryError: when the system has none left.
        """
        if self.pin_memory:
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        with _taking:
            known = self._known
            while len(known) > KEPT_BLOCKS and known[-1].is_unused():
                known.pop()
            for block in known:
                if block.shape == shape and (whole := block.whole()) is not None:
                    return whole
            return torch.from_numpy(self._of_other_shape(shape))

    def _of_other_shape(self, shape: tuple[int, ...]) -> np.ndarray:
        """A part of an unused block that is larger, or a new block."""
        known, num_bytes = self._known, math.prod(shape)
        for block in known:
            if block.memory.nbytes >= num_bytes and block.is_unused():
                return np.ndarray(shape, np.uint8, block.memory)
        memory = _new_block(shape, num_bytes)
        known.append(_Block(memory))
        if len(known) > KNOWN_BLOCKS:
            known.pop(0)
        return memory


_taking = threading.Lock()
"""Held for the microseconds of a ``take``, by whatever loader."""


def _renew_lock() -> None:
    """A thread that held it is not there in a forked process."""
    global _taking
    _taking = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)

_EMPTY = _Block(np.empty(0))
_ALONE = getrefcount(_EMPTY.memory)
"""What is counted for memory that only its block refers to."""


def _new_block(shape: tuple[int, ...], num_bytes: int) -> np.ndarray:
    """Memory from the system, in large pages where it offers them.

    The array is no view of another array: numpy would let its views refer to that one instead.
    """
    if num_bytes < HUGE_PAGE_BYTES:
        return np.empty(shape, dtype=np.uint8)
    try:
        size = -(-num_bytes // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        # Private: memory that may be shared is kept in small pages by most systems.
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"the system has no {num_bytes:,} bytes left for a batch of pages") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without large pages serves, too
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.ndarray(shape, np.uint8, pages)
