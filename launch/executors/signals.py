"""Note the signals that ask this process to stop, in place of dying from them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignals:
    """Signals that came while they were caught."""

    def __init__(self) -> None:
        self.count = 0
        self.number: int | None = None
        """The signal that decides what follows: the last one, or SIGTERM once it has come."""
        self._came = threading.Event()

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal; nothing is raised, so that no run is started and then lost track of."""
        self.count += 1
        if self.number != signal.SIGTERM:
            self.number = number
        self._came.set()

    def wait(self, timeout_s: float) -> bool:
        """Return whether a signal has come, after waiting at most ``timeout_s`` for it."""
        return self._came.wait(timeout_s)


@contextmanager
def caught_signals(numbers: Iterable[signal.Signals]) -> Iterator[StopSignals]:
    """Catch these signals; the handlers from before are put back at the end."""
    signals = StopSignals()
    before = {number: signal.signal(number, signals.note) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
