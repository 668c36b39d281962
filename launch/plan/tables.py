"""Show plans and states: rich tables and lines for people, JSON values for scripts."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.table import Table

from harness.config import AttentionTransfer, BetaSearch, RunConfig
from launch.grids.grid import GridRun
from launch.grids.registry import printed_values
from launch.plan.cost import Estimate, Splits, disk_gb, hours_to_go, seconds_to_go
from launch.plan.decide import Action, Decision, decide
from launch.plan.run_state import ABSENT, RunState
from launch.terminal import print_whole

MAX_ROWS = 1000
"""Rows that a person gets to see; drawing more takes longer than anything else, and ``--json`` has them all."""
HUGE_ROWS = 100
"""Rows of a grid that is too large to be listed."""
LINES_AROUND = 6
"""Of a terminal's height, what a watch leaves free of rows: headers, the progress line, folded text."""
FOLDING = ("prerequisite", "search", "repetition", "why", "error or why it waits")
NUMBERS = ("epoch", "AUROC", "images/s", "ETA", "needs", "images", "GPU time")
RUN_KEYS = (
    *("state", "job", "device", "epoch", "epochs", "mean_auroc", "images_per_s"),
    *("restarts", "preempted", "timed_out", "energy_kwh", "error"),
)
RESUME_COPIES = 6
"""Copies of the weights that two whole checkpoints hold, with Adam's two moments."""
COUNTS = ("train_images", "teacher_images", "validation_images")
ACTIONS: dict[Action, str] = {"skip": "done", "run": "can start now", "wait": "waiting", "blocked": "blocked"}
PLAN_HEADERS = ("action", "", "tables", "needs", "images", "GPU time", "why")
STATUS_HEADERS = ("state", "", "epoch", "AUROC", "images/s", "ETA", "restarts", "error or why it waits")
MOVING = ("running", "queued", "failed", "stale", "damaged", "cancelled", "partial")
"""States of the runs that a watch shows, in this order."""


def make_table(*headers: str, left: tuple[str, ...] = FOLDING, right: tuple[str, ...] = NUMBERS) -> Table:
    """Make a table whose columns never vanish: text of ``left`` folds, numbers of ``right`` keep their width."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in headers:
        folds = header in left
        justify: Any = "right" if header in right else "left"
        table.add_column(header, overflow="fold", no_wrap=not folds, justify=justify, min_width=6 if folds else None)
    return table


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables with an empty line after each."""
    for table in tables:
        print_whole(table, "")


def identity(run: GridRun) -> dict[str, str]:
    """Return what names a run in JSON."""
    return {"id": run.run_id, "name": run.name, "kind": run.kind}


# Plans


def plan_document(grid: str, plan: Sequence[Decision], cost: Estimate) -> dict[str, Any]:
    """Return the plan as JSON values."""
    printed = printed_values(grid)
    return {
        "grid": grid,
        "cost": cost_document(plan, cost),
        "runs": [
            {
                **identity(decision.run),
                "needs": list(decision.run.needs),
                "cells": list(decision.run.cells),
                "printed": printed.get(decision.run.name.rpartition("_r")[0]),
                "config": config_summary(decision.run.config),
                "cost": {
                    **{name: getattr(cost.works[decision.run.run_id], name) for name in COUNTS},
                    "gpu_hours": cost.hours[decision.run.run_id],
                    "gpu_hours_left": cost.left[decision.run.run_id],
                },
                "action": decision.action,
                "reason": decision.reason,
            }
            for decision in plan
        ],
    }


def cost_document(plan: Sequence[Decision], cost: Estimate) -> dict[str, Any]:
    """Return sums over all runs and the critical path, as JSON values."""
    return {
        "throughput": cost.throughput.source,
        **{name: sum(getattr(work, name) for work in cost.works.values()) for name in COUNTS},
        "gpu_hours": sum(cost.hours.values()),
        "gpu_hours_left": sum(cost.left.values()),
        "disk_gb": sum(disk_gb(decision.run) for decision in plan),
        "critical_path": {"hours": cost.chain_hours, "runs": [run.name for run in cost.chain]},
    }


def config_summary(config: RunConfig) -> dict[str, Any]:
    """Return the fields in which the runs of a grid differ; beta is a number, ``search``, or null without one."""
    objective = config.objective
    beta = objective.beta if isinstance(objective, AttentionTransfer) else None
    return {
        "dataset": config.data.dataset,
        "subset": config.data.subset,
        "init": config.init.source,
        "method": objective.method,
        "teacher": None if objective.teacher is None else objective.teacher.source,
        "beta": "search" if isinstance(beta, BetaSearch) else beta,
        "network": config.network.name,
        "scope": config.network.scope,
        "epochs": config.schedule.last_epoch,
        "seed": config.seed,
    }


def plan_tables(plan: Sequence[Decision], cost: Estimate) -> Iterator[Table]:
    """Yield a table for each kind of run.

    Columns: what is to be done, the run, the tables it enters, how many runs it needs, the images that it trains and
    validates on, the GPU time that it still takes, and why.
    """
    for kind, decisions in groupby(plan, key=lambda decision: decision.run.kind):
        table = make_table(*(header or kind for header in PLAN_HEADERS))
        for decision in decisions:
            run = decision.run
            table.add_row(
                decision.action,
                run.name,
                "+".join(run.cells),
                str(len(run.needs) or ""),
                count_of(cost.works[run.run_id].images),
                hours_of(cost.left[run.run_id]),
                decision.reason,
            )
        yield table


def print_plan(plan: Sequence[Decision], cost: Estimate, shows: Sequence[Table | str] = ()) -> None:
    """Print the plan, what it costs, ``shows``, and how many runs are of each action; of a huge grid the sums."""
    if len(plan) <= MAX_ROWS:
        print_tables(plan_tables(plan, cost))
    else:
        print(f"more than {MAX_ROWS} runs: choose a part with --name, --dataset, --size, or print all with --json\n")
    sums = cost_document(plan, cost)
    most = max((RESUME_COPIES * disk_gb(decision.run) for decision in plan), default=0.0)
    print(f"disk: {sums['disk_gb']:.2g} GB once all is done, and up to {most:.2g} GB for each run until then")
    trained, taught, validated = (count_of(sums[name]) for name in COUNTS)
    print(f"images: {trained} trained on, {taught} of them through a teacher too, {validated} validated on")
    print(
        f"GPU time: {hours_of(sums['gpu_hours'])}, of which {hours_of(sums['gpu_hours_left'])} is left "
        f"(throughput: {cost.throughput.source})"
    )
    path = " -> ".join(run.name for run in cost.chain) or "nothing left"
    print(f"critical path: {hours_of(cost.chain_hours)}: {path}")
    for part in shows:
        print(part) if isinstance(part, str) else print_whole(part)
    actions = Counter(decision.action for decision in plan)
    print(counts_line(len(plan), {words: actions[action] for action, words in ACTIONS.items()}))


# States


def status_document(
    grid: str, runs: Sequence[GridRun], found: Mapping[str, RunState], cost: Estimate, splits: Splits
) -> dict[str, Any]:
    """Return where each run stands, as JSON values; ETAs in seconds."""
    running = sum(found[run.run_id].state == "running" for run in runs)
    return {
        "grid": grid,
        "counts": dict(Counter(found[run.run_id].state for run in runs)),
        "gpu_hours": sum(cost.hours.values()),
        "gpu_hours_left": sum(cost.left.values()),
        "eta_s": 3600.0 * hours_to_go(cost, running) if running else None,
        "energy_kwh": energy_used(runs, found)[0],
        "runs": [_run_document(run, found[run.run_id], splits) for run in runs],
    }


def _run_document(run: GridRun, state: RunState, splits: Splits) -> dict[str, Any]:
    known = {name: getattr(state, name) for name in RUN_KEYS}
    return {**identity(run), **known, "eta_s": seconds_to_go(run, state, splits)}


def status_tables(runs: Sequence[GridRun], found: Mapping[str, RunState], splits: Splits) -> Iterator[Table]:
    """Yield a table for each kind of run: state, epochs done, AUROC, speed, time to go, restarts, what is wrong."""
    waits = {decision.run.run_id: decision.reason for decision in decide(runs, found) if decision.action != "run"}
    for kind, group in groupby(runs, key=lambda run: run.kind):
        table = make_table(*(header or kind for header in STATUS_HEADERS))
        for run in group:
            table.add_row(*status_row(run, found[run.run_id], waits.get(run.run_id, ""), splits))
        yield table


def moving_table(
    runs: Sequence[GridRun], found: Mapping[str, RunState], splits: Splits, most: int | None = None
) -> Table:
    """Make a table of the runs that run, wait in the queue or need a look.

    It has about ``most`` rows, some of each state; by default as many as fit on the terminal.
    """
    most = most or max(1, shutil.get_terminal_size().lines - LINES_AROUND)
    table = make_table(*(header or "repetition" for header in STATUS_HEADERS))
    moving = [run for run in runs if found[run.run_id].state in MOVING]
    by_state = [[run for run in moving if found[run.run_id].state == state] for state in MOVING]
    share = max(1, most // max(1, sum(map(bool, by_state)))) if len(moving) > most else most
    shown = [run for group in by_state for run in group[:share]]
    for run in shown:
        table.add_row(*status_row(run, found[run.run_id], "", splits))
    table.columns[1].header = "run" if len(moving) == len(shown) else f"run ({len(moving) - len(shown)} more)"
    return table


def status_row(run: GridRun, state: RunState, waits: str, splits: Splits) -> tuple[str, ...]:
    """Return what ``STATUS_HEADERS`` says of one run; ``waits`` is what it waits for by the plan."""
    eta = seconds_to_go(run, state, splits)
    why = state.error or state.waits_for or (waits if state.state in ("absent", "partial") else "")
    if state.state in ("queued", "running"):
        job = "" if state.job is None else f"job {state.job}"
        place = f"on {state.device}" if state.device and state.state == "running" else ""
        why = ", ".join(filter(None, (job, why, place)))
    counts = ((state.preempted, "preempted"), (state.timed_out, "at the time limit"))
    endings = ", ".join(f"{count} x {words}" for count, words in counts if count)
    return (
        state.state,
        run.name,
        "-" if state.epoch is None else f"{state.epoch}/{state.epochs}",
        number(state.mean_auroc, 4),
        number(state.images_per_s, 0),
        "-" if eta is None else clock(eta),
        str(state.restarts or "-"),
        "; ".join(filter(None, (why, endings))),
    )


def print_status(
    runs: Sequence[GridRun],
    found: Mapping[str, RunState],
    cost: Estimate | None = None,
    splits: Splits | None = None,
    price: float | None = None,
) -> None:
    """Print where the runs stand and how many are in each state; of a huge grid only the runs that move."""
    if len(runs) <= MAX_ROWS:
        print_tables(status_tables(runs, found, splits or {}))
    else:
        print_tables([moving_table(runs, found, splits or {}, HUGE_ROWS)])
    print(progress_line(runs, found, cost, price))


def progress_line(
    runs: Sequence[GridRun], found: Mapping[str, RunState], cost: Estimate | None = None, price: float | None = None
) -> str:
    """Return counts by state, the GPU time that is left, and when the whole grid will be done as things go now."""
    counts: Counter[str] = Counter(found.get(run.run_id, ABSENT).state for run in runs)
    line = counts_line(len(runs), counts)
    if cost is None:
        return line
    left = sum(cost.left.values())
    if left > 0.0:
        line += f"; {hours_of(left)} of {hours_of(sum(cost.hours.values()))} of GPU time left"
    if counts["running"]:
        line += f", at least {hours_of(hours_to_go(cost, counts['running']))} with {counts['running']} at once"
    kwh, told = energy_used(runs, found)
    energy = "" if kwh is None else f"{kwh:.3g} kWh used by {plural(told, 'run')}"
    return "; ".join(filter(None, (line, energy, money(cost, price))))


def energy_used(runs: Sequence[GridRun], found: Mapping[str, RunState]) -> tuple[float | None, int]:
    """Return the kWh that the runs' devices used so far, None where none tells, and how many runs have told."""
    told = [kwh for run in runs if (kwh := found.get(run.run_id, ABSENT).energy_kwh) is not None]
    return (sum(told) if told else None), len(told)


def money(cost: Estimate, price: float | None) -> str:
    """Return in words what ``money_document`` says; nothing without a price."""
    found = money_document(cost, price).get("money")
    return (
        "" if found is None else f"at {price:g} a GPU-hour {found['all']:,.2f}, of which {found['left']:,.2f} is left"
    )


def money_document(cost: Estimate, price: float | None) -> dict[str, dict[str, float]]:
    """Return what the whole costs and what is left of it, in the unit of ``price``, as JSON values."""
    if price is None:
        return {}
    whole, left = (price * sum(hours.values()) for hours in (cost.hours, cost.left))
    return {"money": {"price_per_gpu_hour": price, "all": whole, "left": left}}


def is_over(runs: Sequence[GridRun], found: Mapping[str, RunState]) -> bool:
    """Return whether nothing moves by itself: all is done, failed, or needs what failed; needs come first."""
    stuck: set[str] = set()
    for run in runs:
        state = found.get(run.run_id, ABSENT).state
        if state in ("failed", "cancelled", "stale", "damaged") or not stuck.isdisjoint(run.needs):
            stuck.add(run.run_id)
        elif state != "done":
            return False
    return True


# Numbers


def counts_line(total: int, counts: Mapping[str, int]) -> str:
    """Return how many runs there are of each sort: ``320 runs: 3 done, 317 waiting``."""
    shown = ", ".join(f"{count} {words}" for words, count in counts.items() if count)
    return f"{plural(total, 'run')}: {shown}"


def plural(count: int, noun: str) -> str:
    """Return ``1 run`` or ``2 runs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def number(value: float | None, digits: int) -> str:
    """Format a number with so many digits after the point, or a dash."""
    return "-" if value is None else f"{value:,.{digits}f}"


def count_of(number: float) -> str:
    """Format a count as 950, 12.8 k, 130.2 M or 1.27 G."""
    for size, letter, digits in ((1e9, "G", 2), (1e6, "M", 1), (1e3, "k", 1)):
        if number >= size:
            return f"{number / size:.{digits}f} {letter}"
    return f"{number:.0f}"


def hours_of(hours: float) -> str:
    """Format hours as 1,200 h, 8.9 h, 45 min or 0.5 min; a dash for none."""
    if hours >= 1:
        return f"{hours:,.0f} h" if hours >= 100 else f"{hours:.1f} h"
    minutes = 60 * hours
    return f"{minutes:.0f} min" if minutes >= 1 else f"{minutes:.1g} min" if minutes else "-"


def clock(seconds: float) -> str:
    """Format a duration as 7.5 s, 3:12 or 1:03:12."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
