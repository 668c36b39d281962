"""Time a stream of batches in its steady state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

EPOCH_STARTS = None
"""Yielded in place of a batch before the first one of an epoch."""
SKIPPED_BATCHES = 6
"""Batches not counted after a start or a pause: more than the contenders keep in their queues."""
MIN_BATCHES = 8


def measure(
    batches: Iterator[Any],
    *,
    seconds: float,
    workers: int,
    skipped: int = SKIPPED_BATCHES,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[int, float]:
    """Images delivered and the seconds that took, over at least ``seconds`` and ``MIN_BATCHES`` batches.

    The clock runs from batch to batch. It stands still for the first ``skipped`` batches, which were ready already,
    and for the same number after each start of an epoch; so start-up counts for nobody. The number of counted batches
    is a multiple of ``workers``, since workers of equal speed deliver in bursts.

    Raises:
        RuntimeError: when an epoch has no batch left to count.
    """
    assert skipped >= 1, "a batch is timed from the one before it"
    images = counted = 0
    elapsed = 0.0
    to_skip, since, idle_epochs = skipped, 0.0, 0
    while elapsed < seconds or counted < MIN_BATCHES or counted % workers:
        batch = next(batches)
        now = clock()
        if batch is EPOCH_STARTS:
            to_skip, idle_epochs = skipped, idle_epochs + 1
            if idle_epochs > 2:
                raise RuntimeError(f"an epoch has no more than {skipped} batches; measure with more --samples")
            continue
        if to_skip > 0:
            to_skip -= 1
        else:
            images, counted, elapsed, idle_epochs = images + len(batch), counted + 1, elapsed + now - since, 0
        since = now
    return images, elapsed


def measure_next(passes: Iterator[int], *, clock: Callable[[], float] = time.perf_counter) -> tuple[int, float]:
    """Images and seconds of one whole pass, from asking for it to its end."""
    started = clock()
    images = next(passes)
    return images, clock() - started
