"""Decide when to stop or save: signals and the clock, the same in every process.

SIGTERM, SIGINT (Ctrl-C) and SIGUSR2 end a run. In the middle of training steps they wait for the step's end, where a
checkpoint is written; elsewhere, and when asked a second time, they end it at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
_SAVE = 1
"""Code of a checkpoint without a stop; a stop's code is above it, so that the maximum over processes decides."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the run; its files are whole and the same command resumes it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_status(self) -> int:
        """What a shell calls the end by this signal: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


class StopSignals:
    """Notes the signals that ask this process to stop, or raises ``Interrupted`` where nothing is to be finished."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._deferred = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Let the signals of this process come here; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, the first signal is only noted in ``number``; one that is still unanswered at the end is raised."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.number is not None:
            raise Interrupted(self.number)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if not self._deferred or self.number is not None:
            raise Interrupted(number)
        self.number = number
        if os.environ.get("RANK", "0") == "0":  # os.write, since print may have been interrupted by this very signal
            name = signal.Signals(number).name
            os.write(2, f"{name}: stopping at the end of this step; once more to stop at once\n".encode())


class StopControl:
    """Decides at the end of each step whether a checkpoint is due and whether the run ends there.

    Processes agree through an all-reduced flag that lives on the CPU and travels while the next step computes: a
    decision comes one step late and never makes the device wait.
    """

    def __init__(self, signals: StopSignals, *, checkpoint_minutes: float, num_processes: int, owner: bool) -> None:
        """Set up; a collective call. The clock of the ``owner`` counts, 0 minutes mean no checkpoint in an epoch."""
        self.signals = signals
        self.stop: int | None = None
        """The signal that ends the run, once all processes know of it."""
        self._every_s = 60 * checkpoint_minutes if owner and checkpoint_minutes > 0 else float("inf")
        self._saved = time.monotonic()
        self._group: Any = torch.distributed.new_group(backend="gloo") if num_processes > 1 else None
        self._flag = torch.zeros(1, dtype=torch.int64)
        self._travelling: Any = None

    def due(self) -> bool:
        """Whether every process is to save here; a collective call, made at the end of every step."""
        if self._group is None:
            return self._decide(self._own_code())
        decided = self._decide(self._arrived())
        self._send()
        return decided

    def settle(self) -> bool:
        """The same at the end of an epoch's steps, with all that is known up to now."""
        if self._group is None:
            return self._decide(self._own_code())
        agreed = self._arrived()
        self._send()
        return self._decide(max(agreed, self._arrived()))

    def _own_code(self) -> int:
        if self.signals.number is not None:
            return _SAVE + self.signals.number
        return _SAVE if time.monotonic() - self._saved >= self._every_s else 0

    def _decide(self, code: int) -> bool:
        if code > _SAVE:
            self.stop = code - _SAVE
        if code > 0:
            self._saved = time.monotonic()
        return code > 0

    def _send(self) -> None:
        self._flag[0] = self._own_code()
        self._travelling = torch.distributed.all_reduce(
            self._flag, torch.distributed.ReduceOp.MAX, group=self._group, async_op=True
        )

    def _arrived(self) -> int:
        if self._travelling is None:
            return 0
        self._travelling.wait()
        self._travelling = None
        return int(self._flag.item())
