"""What counts in a measurement: batches after the skipped ones, in whole bursts, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.common.timing import EPOCH_STARTS, MIN_BATCHES, measure, measure_next


class Clock:
    """Time that passes only when a batch is waited for."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def stream(clock: Clock, waits: Iterator[float], size: int = 4, epoch: int | None = None) -> Iterator[Any]:
    for delivered, wait in enumerate(waits):
        if epoch is not None and delivered % epoch == 0:
            clock.now += 100.0
            yield EPOCH_STARTS
        clock.now += wait
        yield range(size)


def forever(value: float) -> Iterator[float]:
    while True:
        yield value


def test_skipped_batches_cost_nothing_and_the_rest_counts_from_batch_to_batch() -> None:
    clock = Clock()
    waits = iter([50.0, 60.0, *[0.5] * 100])
    images, seconds = measure(stream(clock, waits), seconds=1.0, workers=2, skipped=2, clock=clock)
    assert (images, seconds) == (4 * MIN_BATCHES, 0.5 * MIN_BATCHES)


def test_it_goes_on_until_the_time_is_up_and_the_burst_is_whole() -> None:
    clock = Clock()
    images, seconds = measure(stream(clock, forever(1.0)), seconds=12.5, workers=3, skipped=1, clock=clock)
    assert (images, seconds) == (4 * 15, 15.0)


@given(st.integers(2, 40), st.integers(1, 5), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_the_rate_does_not_depend_on_where_epochs_end(epoch: int, skipped: int, workers: int) -> None:
    clock = Clock()
    batches = stream(clock, forever(0.25), epoch=skipped + epoch)
    images, seconds = measure(batches, seconds=5.0, workers=workers, skipped=skipped, clock=clock)
    assert images / seconds == pytest.approx(16.0) and seconds >= 5.0


def test_epochs_that_are_too_short_to_count_are_refused() -> None:
    clock = Clock()
    with pytest.raises(RuntimeError, match="--samples"):
        measure(stream(clock, forever(1.0), epoch=3), seconds=1.0, workers=1, skipped=3, clock=clock)


def test_a_whole_pass_is_timed_from_its_start_to_its_end() -> None:
    clock = Clock()
    passes = (len(batch) for batch in stream(clock, forever(2.5), size=7))
    assert measure_next(passes, clock=clock) == (7, 2.5)
