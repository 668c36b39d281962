"""A shape comes in, a tensor of memory of its own goes out; the memory returns when its last holder is gone.

Fresh memory costs as much as filling it: the kernel maps and clears every page of it. So blocks are used again, but
only after the tensor that was made of a block, and every view of that tensor, has been dropped.
"""

from __future__ import annotations

import math
import mmap
import weakref
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
        self._leases: dict[int, _Lease] = {}
        self._ended: deque[_Lease] = deque()

    def take(self, shape: tuple[int, ...]) -> torch.Tensor:
        """A contiguous uint8 tensor of this shape with arbitrary content.

        Raises:
            MemoryError: when the system has none left.
        """
        if self.pin_memory:
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        num_bytes = math.prod(shape)
        block = self._block(num_bytes)
        array = np.ndarray(shape, np.uint8, block)
        # The tensor holds the array, and nothing else does; so the lease ends with the last view of the tensor.
        lease = _Lease(array, self._ended.append)
        lease.block = block
        self._leases[id(lease)] = lease
        return torch.from_numpy(array)

    def _block(self, num_bytes: int) -> np.ndarray:
        with suppress(IndexError):  # until there is none; several threads may ask
            while True:
                lease = self._ended.popleft()
                del self._leases[id(lease)]
                self._free.append(lease.block)
        block = None
        with suppress(IndexError):
            block = self._free.pop()
        return block if block is not None and len(block) >= num_bytes else _new_block(num_bytes)


class _Lease(weakref.ref[np.ndarray]):
    """Tells when an array is gone, and which block it was made of.

    The callback must not be Python's own code, nor may a ``__del__`` stand in its place: an array goes at any moment,
    and a Ctrl-C that arrives in such code is printed and forgotten.
    """

    __slots__ = ("block",)
    block: np.ndarray


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
