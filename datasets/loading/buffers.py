"""Reuse the memory of batches that nobody holds any more."""

from __future__ import annotations

import math
import weakref
from collections import deque

import numpy as np
import torch

KEPT_BLOCKS = 8
"""Unused blocks that are kept; more are given back to the system."""


class _Lease(weakref.ref[np.ndarray]):
    """Reference to the array that a batch's tensor was made of, and the block of memory behind it."""

    __slots__ = ("block",)
    block: np.ndarray


class BufferPool:
    """Source of uninitialised uint8 tensors, each with memory of its own for as long as anything refers to it.

    Fresh memory costs as much as filling it, since the system maps and clears every page; so a block is handed out
    again once the tensor made of it and all views of that tensor are gone. With ``pin_memory`` torch's own cache of
    page-locked blocks serves, which also waits for copies to the device.
    """

    def __init__(self, *, pin_memory: bool) -> None:
        self.pin_memory = pin_memory
        self._leases: dict[int, _Lease] = {}
        # The callback of a lease is this method of C code: a signal handler cannot run, and raise, inside it.
        self._ended: deque[_Lease] = deque()
        self._free: deque[np.ndarray] = deque(maxlen=KEPT_BLOCKS)

    def take(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return a contiguous uint8 tensor with arbitrary content; safe to call from several threads.

        Raises:
            MemoryError: when the system has none left.
        """
        if self.pin_memory:
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        num_bytes = math.prod(shape)
        block = self._block(num_bytes)
        part = block[:num_bytes]
        lease = _Lease(part, self._ended.append)
        lease.block = block
        self._leases[id(lease)] = lease
        # The tensor keeps ``part`` itself alive, and so does everything that is made of the tensor.
        return torch.from_numpy(part).view(shape)

    def _block(self, num_bytes: int) -> np.ndarray:
        try:
            while True:
                lease = self._ended.popleft()
                del self._leases[id(lease)]
                self._free.append(lease.block)
        except IndexError:
            pass
        try:
            while True:
                block = self._free.pop()
                if block.nbytes >= num_bytes:
                    return block
        except IndexError:
            pass
        try:
            return np.empty(num_bytes, dtype=np.uint8)
        except MemoryError as error:
            raise MemoryError(f"the system has no {num_bytes:,} bytes left for a batch of pages") from error
