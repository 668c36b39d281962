"""Hand on a few batches of a stream at a time, and time these in its steady state.

The clock runs from the arrival of the first batch to the arrival of the one after the last: so many whole cycles of
computing a batch and waiting for the next. What a loop spends before its first batch counts for nobody. Between the
two a GPU is not waited for, so that it works beside the host as it does in training.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch

from harness.devices.precision import chosen_precision
from harness.runs.runtime import Precision

Item = TypeVar("Item")


@dataclass
class Cycles(Iterator[Item]):
    """Hands out ``steps`` items of a stream and takes one more, by whose arrival the clock stops; it may go on."""

    stream: Iterator[Item]
    steps: int
    passes_last: bool = field(default=False, kw_only=True)
    """Hand out the item after the last timed one too, to a caller who has to have them all."""
    clock: Callable[[], float] = field(default=time.perf_counter, kw_only=True)
    settled: Callable[[], float] | None = field(default=None, kw_only=True)
    """Seconds after waiting for the device, for start and end; ``clock`` when None."""
    waited_s: float = field(default=0.0, init=False)
    """Seconds of the timed ones in which the caller had to wait for an item."""
    _times: list[float] = field(default_factory=list, init=False)
    """Of start and end, as far as they have come."""

    def __next__(self) -> Item:
        if len(self._times) == 2:
            raise StopIteration
        asked = self.clock()
        item = next(self.stream)
        arrived = self.clock()
        settled = self.settled or self.clock
        if not self._times:
            self._times.append(settled())
            return item
        self.waited_s += arrived - asked
        self.steps -= 1
        if self.steps == 0:
            self._times.append(settled())
            if not self.passes_last:
                raise StopIteration
        return item

    @property
    def seconds(self) -> float:
        """Time of the cycles.

        Raises:
            RuntimeError: when the stream ended before them.
        """
        if len(self._times) < 2:
            raise RuntimeError("the stream ended before the last of its batches was timed; measure with more samples")
        return self._times[1] - self._times[0]

    def measured(self, images: int) -> dict[str, float]:
        """What a loop reports of cycles that took so many images."""
        return {"seconds": self.seconds, "images": images, "data_wait_s": self.waited_s}


def precision_on(device: torch.device, asked: Precision) -> Precision:
    """What ours and the careful loop compute in; ``auto`` is bf16 where the device has arithmetic for it, else fp32.

    Raises:
        InputError: where the device cannot compute in it.
    """
    return chosen_precision(asked, use_cuda=device.type == "cuda")


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
