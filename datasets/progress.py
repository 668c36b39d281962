"""Progress of long work on standard error: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datasets.logging_setup import stderr_console

LINE_EVERY_S = 10.0

Advance = Callable[..., None]


@contextmanager
def progress(description: str, total: int, *, unit: str = "images") -> Iterator[Advance]:
    """Yield ``advance(n=1, note="")``; standard output is left free for results."""
    if sys.stderr.isatty():
        with _bar(description, total, unit) as advance:
            yield advance
    else:
        yield _lines(description, total, unit)


@contextmanager
def _bar(description: str, total: int, unit: str) -> Iterator[Advance]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    started = time.monotonic()
    with Progress(*columns, console=stderr_console()) as bar:
        task = bar.add_task(description, total=total, rate="", note="")
        done = 0

        def advance(n: int = 1, note: str = "") -> None:
            nonlocal done
            done += n
            rate = done / max(time.monotonic() - started, 1e-9)
            bar.update(task, advance=n, rate=f"{rate:,.0f} {unit}/s", note=note)

        yield advance


def _lines(description: str, total: int, unit: str) -> Advance:
    started = printed = time.monotonic()
    done = 0

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, printed
        done += n
        now = time.monotonic()
        if done >= total or now - printed >= LINE_EVERY_S:
            printed = now
            rate = done / max(now - started, 1e-9)
            line = f"{description}: {done:,}/{total:,} {unit}, {rate:,.0f} {unit}/s {note}".rstrip()
            print(line, file=sys.stderr, flush=True)

    return advance
