"""Measure contenders in interleaved rounds, each in a process of its own.

Between its rounds a contender's processes are stopped by signal, so that none of them fills its queues while another
is measured.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

from benchmarks.common.contenders import Contender
from benchmarks.common.process import ContenderError, Process
from launch.executors.signals import handled_signals

START_S = 300.0
ROUND_S = 600.0
T = TypeVar("T")


class Running(Process):
    """The process of one contender, stopped except during ``start`` and ``round``."""

    def __init__(self, contender: Contender, pictures: Path, log: Path) -> None:
        self.contender = contender
        super().__init__([*contender.command, str(pictures)], log)

    def start(self) -> None:
        """Wait until its first batch is there; raises as ``answer`` does."""
        self.answer(START_S)
        self.signal(signal.SIGSTOP)

    def round(self, seconds: float | None) -> float:
        """Images per second over at least ``seconds``, over one whole pass where None; raises as ``answer`` does."""
        self.signal(signal.SIGCONT)
        try:
            images, elapsed = self.ask({"seconds": seconds}, ROUND_S + 10 * (seconds or 0.0))
        finally:
            self.signal(signal.SIGSTOP)
        return float(images) / float(elapsed)


@contextmanager
def started(
    contenders: Sequence[Contender], pictures: Path, folder: Path
) -> Iterator[tuple[list[Running], dict[str, str]]]:
    """Start contenders one after another; yields those that run and, by name, why the others do not.

    SIGTERM ends them all before this process: those that stand still would do so for ever.
    """
    running: list[Running] = []
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        stack.enter_context(handled_signals((signal.SIGTERM,), _exit))
        for contender in contenders:
            print(f"starting {contender.name}", file=sys.stderr, flush=True)
            one = Running(contender, pictures, folder / f"{contender.name}.log")
            stack.callback(one.end)
            try:
                one.start()
                running.append(one)
            except ContenderError as error:
                one.end()
                failed[contender.name] = str(error)
                print(f"  {contender.name}: {error}", file=sys.stderr, flush=True)
        yield running, failed


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def measure_rounds(
    running: Sequence[Running], failed: dict[str, str], *, rounds: int, seconds: float | None
) -> dict[str, list[float]]:
    """Rates by name, one for each round; each round starts with another contender.

    One that ends in the middle has no rates; ``failed`` then says why.
    """
    rates: dict[str, list[float]] = {one.contender.name: [] for one in running}
    for number in range(rounds):
        for one in rotated(running, number * len(running) // rounds):
            name = one.contender.name
            if name in failed:
                continue
            try:
                rate = one.round(seconds)
            except ContenderError as error:
                del rates[name]
                failed[name] = str(error)
                print(f"round {number + 1}/{rounds}  {name}: {error}", file=sys.stderr, flush=True)
                continue
            rates[name].append(rate)
            print(f"round {number + 1}/{rounds}  {name:<24}{rate:>12,.0f} images/s", file=sys.stderr, flush=True)
    return rates


def rotated(items: Sequence[T], first: int) -> list[T]:
    """The items from the ``first`` one on, then those before it."""
    return [*items[first:], *items[:first]]
