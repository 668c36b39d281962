"""A shape comes in, a tensor of memory of its own goes out; the memory returns when its last holder is gone.

Fresh memory costs as much as filling it: the kernel maps and clears every page of it. So blocks are used again, but
only after the tensor that was made of a block, and every view of that tensor, has been dropped.
"""

from __future__ import annotations

import math
import mmap
from collections import deque
from contextlib import suppress

import numpy as np
import torch

KEPT_BLOCKS = 8
"""Free blocks that wait for their next use; more are in use at once only if the consumer keeps batches."""
HUGE_PAGE_BYTES = 1 << 21


class BatchMemory:
    """Source of uninitialised uint8 tensors for one loader.

    With ``pin_memory`` torch's own cache of page-locked blocks serves: it also waits for copies to the device.
    """

    def __init__(self, *, pin_memory: bool) -> None:
        self.pin_memory = pin_memory
        self._free: deque[np.ndarray] = deque(maxlen=KEPT_BLOCKS)

    def take(self, shape: tuple[int, ...]) -> torch.Tensor:
        """A contiguous uint8 tensor of this shape with arbitrary content.

        Raises:
            MemoryError: when the system has none left.
        """
        if self.pin_memory:
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        num_bytes = math.prod(shape)
        # The tensor holds the lease, and nothing else does; so the lease ends with the last view of the tensor.
        return torch.from_numpy(_Lease(self._block(num_bytes), shape, self._free))

    def _block(self, num_bytes: int) -> np.ndarray:
        try:
            block = self._free.pop()
        except IndexError:
            return _new_block(num_bytes)
        return block if len(block) >= num_bytes else _new_block(num_bytes)


class _Lease(np.ndarray):
    """The beginning of a block, which goes back to the free ones when the lease is gone."""

    _block: np.ndarray
    _free: deque[np.ndarray]

    def __new__(cls, block: np.ndarray, shape: tuple[int, ...], free: deque[np.ndarray]) -> _Lease:
        lease = super().__new__(cls, shape, np.uint8, block)
        lease._block, lease._free = block, free
        return lease

    def __del__(self) -> None:
        self._free.append(self._block)


def _new_block(num_bytes: int) -> np.ndarray:
    """Memory from the system, in large pages where it offers them."""
    if num_bytes < HUGE_PAGE_BYTES:
        return np.empty(max(1, num_bytes), dtype=np.uint8)
    try:
        size = -(-num_bytes // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        # Private: memory that may be shared is kept in small pages by most systems.
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"the system has no {num_bytes:,} bytes left for a batch of pages") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without large pages serves, too
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, dtype=np.uint8)
