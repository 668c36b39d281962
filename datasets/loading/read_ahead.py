"""Ask the system for the pages of coming batches, as long as the file is not all in its cache.

A page that is read when a thread first touches it keeps that thread waiting, and few threads leave a disk idle most
of the time: two of them reach a fifth of the sequential rate of an NVMe disk. Asking costs a microsecond a page even
where the page is in the cache, so it stops once nothing had to be read since the time before.
"""

from __future__ import annotations

import resource
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

AHEAD_PAGES = 256
"""Pages that are asked for before their batch is made: enough requests at once to keep a disk busy."""
AHEAD_BATCHES = 2
"""The same in batches, at least."""


def pages_read() -> tuple[int, int]:
    """What this process has read from disks, and its faults that had to wait for one: counts that only grow."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_inblock, used.ru_majflt


def read_ahead(
    batches: Iterable[np.ndarray],
    will_need: Callable[[np.ndarray], None],
    *,
    read: Callable[[], tuple[int, int]] = pages_read,
) -> Iterator[np.ndarray]:
    """Yield ``batches`` of samples (B,), each after ``will_need`` of some that follow it.

    The first one of an epoch is asked for whatever the cache holds, a later one if ``read`` has grown since the last.
    """
    waiting: deque[np.ndarray] = deque()
    num_waiting, before = 0, (-1, -1)
    for batch in batches:
        now = read()
        if now != before:
            will_need(batch)
            before = now
        waiting.append(batch)
        num_waiting += len(batch)
        if num_waiting > AHEAD_PAGES and len(waiting) > AHEAD_BATCHES:
            ready = waiting.popleft()
            num_waiting -= len(ready)
            yield ready
    yield from waiting
