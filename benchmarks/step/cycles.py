"""Hand on a few batches of a stream at a time, and time these in its steady state.

The clock runs from the arrival of the first batch to the arrival of the one after the last: so many whole cycles of
computing a batch and waiting for the next. What a loop spends before its first batch counts for nobody. Between the
two a GPU is not waited for, so that it works beside the host as it does in training.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import torch

from harness.devices.precision import chosen_precision

Item = TypeVar("Item")


class Cycles(Iterator[Item]):
    """Hands out ``steps`` items of a stream and takes one more, by whose arrival the clock stops."""

    def __init__(
        self,
        stream: Iterator[Item],
        steps: int,
        *,
        passes_last: bool = False,
        clock: Callable[[], float] = time.perf_counter,
        settled: Callable[[], float] | None = None,
    ) -> None:
        """Time ``steps`` cycles of ``stream``, which may go on afterwards.

        With ``passes_last`` the item after the last timed one is handed out too, to a caller who has to have them
        all. ``settled`` gives the seconds after waiting for the device, for start and end; ``clock`` when None.
        """
        self._stream = stream
        self._clock = clock
        self._settled = clock if settled is None else settled
        self._passes_last = passes_last
        self._left = steps
        self._began: float | None = None
        self._ended: float | None = None
        self.waited_s = 0.0
        """Seconds of the timed ones in which the caller had to wait for an item."""

    def __next__(self) -> Item:
        if self._ended is not None:
            raise StopIteration
        asked = self._clock()
        item = next(self._stream)
        arrived = self._clock()
        if self._began is None:
            self._began = self._settled()
            return item
        self.waited_s += arrived - asked
        self._left -= 1
        if self._left == 0:
            self._ended = self._settled()
            if not self._passes_last:
                raise StopIteration
        return item

    @property
    def seconds(self) -> float:
        """Time of the cycles.

        Raises:
            RuntimeError: when the stream ended before them.
        """
        if self._began is None or self._ended is None:
            raise RuntimeError("the stream ended before the last of its batches was timed; measure with more samples")
        return self._ended - self._began

    def measured(self, images: int) -> dict[str, float]:
        """What a loop reports of cycles that took so many images."""
        return {"seconds": self.seconds, "images": images, "data_wait_s": self.waited_s}


def mixed_dtype(device: torch.device) -> torch.dtype:
    """What ours and the careful loop compute in: bfloat16 where the device has arithmetic for it, else float32."""
    precision = chosen_precision("auto", use_cuda=device.type == "cuda")
    return torch.bfloat16 if precision == "bf16" else torch.float32


def settled(device: torch.device) -> float:
    """Seconds of the clock when all that the device was asked for is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def cycles_on(device: torch.device, stream: Iterator[Item], steps: int, *, passes_last: bool = False) -> Cycles[Item]:
    """``steps`` batches of a stream, timed until the device has done what they asked of it."""
    return Cycles(stream, steps, passes_last=passes_last, settled=partial(settled, device))


def peak_bytes(device: torch.device) -> int:
    """Most memory so far: of tensors on a GPU, else resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
