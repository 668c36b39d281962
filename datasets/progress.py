"""Progress of long work on standard error: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from datasets.logging_setup import stderr_console

LINE_EVERY_S = 10.0

Advance = Callable[..., None]
Show = Callable[[int, str, str], None]
"""Shows how much is done, at what rate, and a note."""


@contextmanager
def progress(description: str, total: int, *, unit: str = "images") -> Iterator[Advance]:
    """Yield ``advance(n=1, note="")``; standard output is left free for results."""
    started, done = time.monotonic(), 0
    shown = _bar(description, total) if sys.stderr.isatty() else nullcontext(_lines(description, total, unit))
    with shown as show:

        def advance(n: int = 1, note: str = "") -> None:
            nonlocal done
            done += n
            rate = done / max(time.monotonic() - started, 1e-9)
            show(done, f"{rate:,.0f} {unit}/s", note)

        yield advance


@contextmanager
def _bar(description: str, total: int) -> Iterator[Show]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate, note = TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[note]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn(), note)
    with Progress(*columns, console=stderr_console()) as bar:
        task = bar.add_task(description, total=total, rate="", note="")
        yield lambda done, rate, note: bar.update(task, completed=done, rate=rate, note=note)


def _lines(description: str, total: int, unit: str) -> Show:
    printed = time.monotonic()

    def show(done: int, rate: str, note: str) -> None:
        nonlocal printed
        if done >= total or time.monotonic() - printed >= LINE_EVERY_S:
            printed = time.monotonic()
            told = ", ".join(filter(None, (f"{done:,}/{total:,} {unit}", rate, note)))
            print(f"{description}: {told}", file=sys.stderr, flush=True)

    return show
