"""``cxr grid status``: a grid's name and folders come in; a table, JSON, or a view that follows the runs goes out."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass

from datasets.errors import InputError
from launch.cli.grid import PartOfGrid, positive_rate, print_json, splits_of
from launch.grids.grid import GridRun
from launch.plan.cost import Estimate, estimate
from launch.plan.decide import Found
from launch.plan.status_table import is_over, moving_table, print_status, progress_line, status_document

LINES_AROUND = 6
"""Of a terminal's height, what a watch leaves free of rows: headers, the progress line, folded text."""


@dataclass(frozen=True, kw_only=True)
class Status(PartOfGrid):
    """Show where each run of a grid stands, from the run folders and, for queued runs, one call of squeue.

    Example: cxr grid status demo --runs-dir runs/demo --watch
    """

    images_per_s: float | None = None
    """As grid plan takes it; decides the hours left where no run has finished."""
    watch: bool = False
    """Follow the runs that move until nothing moves any more; Ctrl-C ends it with status 130, the runs go on."""
    interval_s: float = 10.0
    """Time between two looks of a watch."""
    json: bool = False
    """Print JSON alone: grid, counts, gpu_hours, gpu_hours_left, eta_s, and for each run id, name, kind, state, job,
    epoch(s), mean_auroc, images_per_s, eta_s, restarts, preempted, timed_out, error."""

    def run(self) -> None:
        """Print the states."""
        if self.watch:
            self._follow()
            return
        runs, found, cost, splits = self._look()
        if self.json:
            print_json(status_document(self.grid, runs, found, cost, splits))
        else:
            print_status(runs, found, cost, splits)

    def _look(self) -> tuple[tuple[GridRun, ...], dict[str, Found], Estimate, dict[str, dict[str, int]]]:
        runs, facts, found = self.look()
        splits = splits_of(facts)
        return runs, found, estimate(runs, found, splits, positive_rate(self.images_per_s)), splits

    def _follow(self) -> None:
        """Look again and again: a table in place on a terminal, else one progress line for each look."""
        if self.json:
            raise InputError("--watch --json: choose one; ask for --json as often as you like")
        if self.interval_s <= 0.0:
            raise InputError(f"--interval-s {self.interval_s:g}: expected a number above 0")
        if not sys.stdout.isatty():
            while not self._show_line():
                time.sleep(self.interval_s)
            return
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(highlight=False), auto_refresh=False) as live:
            while not self._show_table(live):
                time.sleep(self.interval_s)

    def _show_line(self) -> bool:
        """Print the progress; whether all is over."""
        runs, found, cost, _splits = self._look()
        print(progress_line(runs, found, cost), flush=True)
        return is_over(runs, found)

    def _show_table(self, live: object) -> bool:
        """Draw the runs that move and the progress; whether all is over."""
        from rich.console import Group
        from rich.live import Live

        assert isinstance(live, Live)
        runs, found, cost, splits = self._look()
        rows = max(1, shutil.get_terminal_size().lines - LINES_AROUND)
        table = moving_table(runs, found, splits, rows)
        live.update(Group(table, progress_line(runs, found, cost)), refresh=True)
        return is_over(runs, found)
