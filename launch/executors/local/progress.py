"""Show what a local submission does on standard error: lines, and on a terminal a live table of running runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.live import Live
from rich.table import Table

from datasets.logging_setup import stderr_console
from launch.executors.base import Outcome
from launch.executors.process import RunProcess
from launch.grids.grid import GridRun
from launch.plan.run_state import RunState
from launch.plan.tables import clock, make_table, number

logger = logging.getLogger(__name__)
Running = Sequence[tuple[GridRun, RunProcess, RunState]]


class Progress:
    """A line when a run starts and when it ends, above a table that is refreshed in place where there is one."""

    def __init__(self, total: int, live: Live | None = None) -> None:
        """``total`` is the number of runs to start; ``live`` draws the table."""
        self._total, self._ended, self._live = total, 0, live

    def note(self, words: str) -> None:
        """Show one line, after how many of the runs have ended."""
        logger.info("[%d/%d] %s", self._ended, self._total, words)

    def ended(self, outcome: Outcome) -> None:
        """Show that a run was done, failed or blocked."""
        self._ended += 1
        for line in describe(outcome):
            self.note(line)

    def tick(self, running: Running) -> None:
        """Refresh the table; called about once a second with the running processes."""
        if self._live is not None:
            self._live.update(running_table(f"[{self._ended}/{self._total}]", running), refresh=True)


@contextmanager
def showing_progress(total: int) -> Iterator[Progress]:
    """Yield a progress display, with a live table on a terminal."""
    if not sys.stderr.isatty():
        yield Progress(total)
        return
    # Without a refresh thread: processes are started from a single-threaded parent.
    with Live(console=stderr_console(), auto_refresh=False, transient=True) as live:
        yield Progress(total, live)


def running_table(count: str, running: Running) -> Table:
    """Make a table of the running runs: name, epochs done, last validation AUROC, training speed, time."""
    name, numbers = f"{count} running", ("epoch", "AUROC", "images/s", "time")
    table = make_table(name, *numbers, left=(name,), right=numbers)
    for run, process, state in running:
        table.add_row(
            run.name,
            "starting" if state.epoch is None else f"{state.epoch}/{state.epochs}",
            number(state.mean_auroc, 4),
            number(state.images_per_s, 0),
            clock(process.seconds),
        )
    return table


def describe(outcome: Outcome) -> list[str]:
    """Return an outcome as lines; a failure with the end of its log."""
    score = "" if outcome.mean_auroc is None else f", test AUROC {outcome.mean_auroc:.4f}"
    duration = "" if outcome.seconds is None else f" after {clock(outcome.seconds)}"
    reason = f": {outcome.reason}" if outcome.reason else ""
    says_more = len(outcome.log_tail) > 1 or any(line.strip() not in outcome.reason for line in outcome.log_tail)
    log = [f"    {line}" for line in outcome.log_tail] if says_more else []
    return [f"{outcome.state} {outcome.run.name}{duration}{score}{reason}", *log]
