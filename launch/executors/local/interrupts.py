"""Stopping cleanly: signals to this process come in; ended run processes, none left behind, go out."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from launch.executors.process import RunProcess

POLL_S = 0.05


class Interrupts:
    """How often a person or the system asked this process to stop."""

    def __init__(self) -> None:
        self.count = 0
        self._asked = threading.Event()

    def note(self, _number: int, _frame: FrameType | None) -> None:
        """Signal handler: raises nothing, so that no run is started and then lost track of."""
        self.count += 1
        self._asked.set()

    def wait(self, timeout_s: float) -> bool:
        """Whether a stop was asked for, after waiting at most ``timeout_s`` for it."""
        return self._asked.wait(timeout_s)


@contextmanager
def counting_interrupts() -> Iterator[Interrupts]:
    """Count Ctrl-C, SIGTERM and SIGHUP (unless ignored, as under nohup) instead of dying from them."""
    interrupts = Interrupts()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupts.note) for number in numbers}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_all(processes: Sequence[RunProcess], interrupts: Interrupts, *, grace_s: float) -> None:
    """End the processes: SIGINT, after half of ``grace_s`` SIGTERM, after all of it SIGKILL; return when all ended.

    Another interrupt meanwhile cuts the waiting short.
    """
    asked, start = interrupts.count, time.monotonic()
    living = [process for process in processes if process.poll() is None]
    for delay_s, number in ((0.0, signal.SIGINT), (grace_s / 2, signal.SIGTERM), (grace_s, signal.SIGKILL)):
        while living and time.monotonic() - start < delay_s and interrupts.count == asked:
            time.sleep(POLL_S)
            living = [process for process in living if process.poll() is None]
        for process in living:
            process.signal(number)
    for process in living:
        process.process.wait()
