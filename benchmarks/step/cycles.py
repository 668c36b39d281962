"""Hand on a few batches of a stream at a time, and time these in its steady state.

The clock runs from the arrival of the first batch to the arrival of the one after the last: so many whole cycles of
computing a batch and waiting for the next. What a loop spends before its first batch counts for nobody. Between the
two a GPU is not waited for, so that it works beside the host as it does in training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

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
        """Set up.

        Args:
            stream: what is measured; it may go on afterwards.
            steps: cycles to time.
            passes_last: hand out the item after the last timed one, too, to a caller who has to have them all.
            clock: seconds.
            settled: seconds after waiting for the device, for start and end; ``clock`` when None.
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
