"""Signals that stop this process are noted or passed on; children are killed when it is."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import FrameType

EXEC_IF_PARENT = 'test "$PPID" = "$1" || exit 1; shift; exec "$@"'
"""Shell line that becomes the command, unless the parent died before the signal was set."""


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
    """Note these signals in place of dying from them."""
    signals = StopSignals()
    with handled_signals(numbers, signals.note):
        yield signals


@contextmanager
def handled_signals(
    numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Handle these signals so; the handlers from before are put back at the end."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """Return the command line of a child that runs ``command`` and is killed by the kernel when this process ends.

    It needs setpriv of util-linux 2.33. Without (RHEL 8, macOS) this is the plain command: a run outlives a killed
    parent there; its folder's lock keeps it from being started twice.
    """
    if not _setpriv_knows_pdeathsig():
        return [*command]
    bound = ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", EXEC_IF_PARENT, "cxr"]
    return [*bound, str(os.getpid()), *command]


@cache
def _setpriv_knows_pdeathsig() -> bool:
    try:
        done = subprocess.run(["setpriv", "--help"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return "--pdeathsig" in done.stdout
