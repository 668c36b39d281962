"""What ``cxr grid status`` prints: the states of runs and what is left come in; JSON values, tables, lines go out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.table import Table

from launch.executors.local.progress_table import clock, number
from launch.grids.grid import GridRun
from launch.plan.cost import Estimate, Splits, hours_to_go, seconds_to_go
from launch.plan.decide import ABSENT, Found, decide
from launch.plan.plan_table import hours_of, identity
from launch.plan.table import MAX_ROWS, counts_line, make_table, print_tables

HEADERS = ("state", "", "epoch", "AUROC", "images/s", "ETA", "restarts", "error or why it waits")
HUGE_ROWS = 100
"""Rows of a grid that is too large to be listed."""
MOVING = ("running", "queued", "failed", "stale", "partial")
"""States of the runs that a watch shows, in this order."""


def status_document(
    grid: str, runs: Sequence[GridRun], found: Mapping[str, Found], cost: Estimate, splits: Splits
) -> dict[str, Any]:
    """Where each run stands, as JSON values; ETAs in seconds."""
    running = sum(found[run.run_id].state == "running" for run in runs)
    return {
        "grid": grid,
        "counts": dict(Counter(found[run.run_id].state for run in runs)),
        "gpu_hours": sum(cost.hours.values()),
        "gpu_hours_left": sum(cost.left.values()),
        "eta_s": 3600.0 * hours_to_go(cost, running) if running else None,
        "runs": [_run_document(run, found[run.run_id], splits) for run in runs],
    }


def _run_document(run: GridRun, state: Found, splits: Splits) -> dict[str, Any]:
    return {
        **identity(run),
        "state": state.state,
        "job": state.job,
        "epoch": state.epoch,
        "epochs": state.epochs,
        "mean_auroc": state.mean_auroc,
        "images_per_s": state.images_per_s,
        "eta_s": seconds_to_go(run, state, splits),
        "restarts": state.restarts,
        "preempted": state.preempted,
        "timed_out": state.timed_out,
        "error": state.error,
    }


def status_tables(runs: Sequence[GridRun], found: Mapping[str, Found], splits: Splits) -> Iterator[Table]:
    """A table for each kind of run: its state, epochs done, AUROC, speed, time to go, restarts, and what is wrong."""
    waits = {decision.run.run_id: decision.reason for decision in decide(runs, found) if decision.action != "run"}
    for kind, group in groupby(runs, key=lambda run: run.kind):
        table = make_table(*(header or kind for header in HEADERS))
        for run in group:
            _add_row(table, run, found[run.run_id], waits.get(run.run_id, ""), splits)
        yield table


def moving_table(runs: Sequence[GridRun], found: Mapping[str, Found], splits: Splits, most: int) -> Table:
    """The runs that run, wait in the queue or need a look: about so many at most, some of each state."""
    table = make_table(*(header or "repetition" for header in HEADERS))
    moving = [run for run in runs if found[run.run_id].state in MOVING]
    by_state = [[run for run in moving if found[run.run_id].state == state] for state in MOVING]
    share = max(1, most // max(1, sum(map(bool, by_state)))) if len(moving) > most else most
    shown = [run for group in by_state for run in group[:share]]
    for run in shown:
        _add_row(table, run, found[run.run_id], "", splits)
    table.columns[1].header = "run" if len(moving) == len(shown) else f"run ({len(moving) - len(shown)} more)"
    return table


def _add_row(table: Table, run: GridRun, state: Found, waits: str, splits: Splits) -> None:
    eta = seconds_to_go(run, state, splits)
    table.add_row(
        state.state,
        run.name,
        "-" if state.epoch is None else f"{state.epoch}/{state.epochs}",
        number(state.mean_auroc, 4),
        number(state.images_per_s, 0),
        "-" if eta is None else clock(eta),
        str(state.restarts or "-"),
        "; ".join(filter(None, (_why(state, waits), _endings(state)))),
    )


def _why(state: Found, waits: str) -> str:
    return state.error or state.waits_for or (waits if state.state in ("absent", "partial") else "")


def _endings(state: Found) -> str:
    """What ended the earlier starts."""
    counts = ((state.preempted, "preempted"), (state.timed_out, "at the time limit"))
    return ", ".join(f"{count} x {words}" for count, words in counts if count)


def print_status(
    runs: Sequence[GridRun], found: Mapping[str, Found], cost: Estimate | None = None, splits: Splits | None = None
) -> None:
    """Print where the runs stand and how many are in each state; of a huge grid only the runs that move."""
    if len(runs) <= MAX_ROWS:
        print_tables(status_tables(runs, found, splits or {}))
    else:
        print_tables([moving_table(runs, found, splits or {}, HUGE_ROWS)])
    print(progress_line(runs, found, cost))


def progress_line(runs: Sequence[GridRun], found: Mapping[str, Found], cost: Estimate | None = None) -> str:
    """Counts by state, the GPU-hours that are left, and when the whole grid will be done as things go now."""
    counts: Counter[str] = Counter(found.get(run.run_id, ABSENT).state for run in runs)
    line = counts_line(len(runs), counts)
    if cost is None:
        return line
    left = sum(cost.left.values())
    if left > 0.0:
        line += f"; {hours_of(left)} of {hours_of(sum(cost.hours.values()))} GPU-hours left"
    if counts["running"]:
        line += f", at least {hours_of(hours_to_go(cost, counts['running']))} hours with {counts['running']} at once"
    return line


def is_over(runs: Sequence[GridRun], found: Mapping[str, Found]) -> bool:
    """Whether nothing moves any more by itself: all is done, failed, or needs what failed; ``runs`` needs first."""
    stuck: set[str] = set()
    for run in runs:
        state = found.get(run.run_id, ABSENT).state
        if state in ("failed", "stale") or not stuck.isdisjoint(run.needs):
            stuck.add(run.run_id)
        elif state != "done":
            return False
    return True
