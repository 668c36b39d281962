"""What a local submit shows on standard error: events come in; a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from launch.executors.base import Outcome
from launch.executors.process import RunProcess
from launch.grids.grid import GridRun
from launch.plan.decide import Found, where_it_runs

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

Running = Sequence[tuple[RunProcess, Found]]


class Observer(Protocol):
    """Who is told what an executor does."""

    def started(self, process: RunProcess) -> None:
        """A process was started."""

    def elsewhere(self, run: GridRun, found: Found) -> None:
        """A run is waited for because another process computes it."""

    def ended(self, outcome: Outcome) -> None:
        """A run was done, failed or blocked."""

    def tick(self, running: Running) -> None:
        """Called about once a second with the running processes."""

    def stopping(self, count: int) -> None:
        """An interrupt came while this many processes ran."""


class Lines:
    """Plain lines: one when a run starts, one when it ends."""

    def __init__(self, total: int) -> None:
        """``total`` is the number of runs to start."""
        self._total, self._ended = total, 0

    def say(self, line: str) -> None:
        """Print one line."""
        print(line, file=sys.stderr, flush=True)

    def started(self, process: RunProcess) -> None:
        self.say(f"{self.count} started {process.run.name} (log: {process.log})")

    def elsewhere(self, run: GridRun, found: Found) -> None:
        self.say(f"{self.count} waiting for {run.name}: {where_it_runs(found)}")

    def ended(self, outcome: Outcome) -> None:
        self._ended += 1
        for line in describe(outcome):
            self.say(f"{self.count} {line}")

    def tick(self, running: Running) -> None:
        """Plain lines have nothing to refresh."""

    def stopping(self, count: int) -> None:
        self.say(f"stopping {count} {'run' if count == 1 else 'runs'}; once more to stop at once")

    @property
    def count(self) -> str:
        """How many of the runs have ended."""
        return f"[{self._ended}/{self._total}]"


class LiveTable(Lines):
    """The same lines above a table of the running runs, refreshed in place."""

    def __init__(self, total: int, live: Live) -> None:
        """``live`` draws the table."""
        super().__init__(total)
        self._live = live

    def say(self, line: str) -> None:
        self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def tick(self, running: Running) -> None:
        self._live.update(running_table(self.count, running), refresh=True)


@contextmanager
def observing(total: int) -> Iterator[Observer]:
    """A live table on a terminal, else plain lines."""
    if not sys.stderr.isatty():
        yield Lines(total)
        return
    from rich.console import Console
    from rich.live import Live

    # Without a refresh thread: processes are started from a single-threaded parent.
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield LiveTable(total, live)


def running_table(count: str, running: Running) -> Table:
    """Running runs: name, epochs done, last validation AUROC, training speed, time."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(f"{count} running", overflow="fold", min_width=16)
    for header in ("epoch", "AUROC", "images/s", "time"):
        table.add_column(header, justify="right", no_wrap=True)
    for process, found in running:
        epoch = "starting" if found.epoch is None else f"{found.epoch}/{found.epochs}"
        table.add_row(
            process.run.name,
            epoch,
            number(found.mean_auroc, 4),
            number(found.images_per_s, 0),
            clock(process.seconds),
        )
    return table


def describe(outcome: Outcome) -> list[str]:
    """An outcome as lines; a failure with the end of its log."""
    score = "" if outcome.mean_auroc is None else f", test AUROC {outcome.mean_auroc:.4f}"
    duration = "" if outcome.seconds is None else f" after {clock(outcome.seconds)}"
    reason = f": {outcome.reason}" if outcome.reason else ""
    says_more = len(outcome.log_tail) > 1 or any(line.strip() not in outcome.reason for line in outcome.log_tail)
    log = [f"    {line}" for line in outcome.log_tail] if says_more else []
    return [f"{outcome.state} {outcome.run.name}{duration}{score}{reason}", *log]


def number(value: float | None, digits: int) -> str:
    """A number with so many digits after the point, or a dash."""
    return "-" if value is None else f"{value:,.{digits}f}"


def clock(seconds: float) -> str:
    """A duration as 7.5 s, 3:12 or 1:03:12."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
