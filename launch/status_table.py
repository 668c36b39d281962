"""What ``cxr grid plan`` and ``cxr grid status`` print: decisions or states come in; JSON values or tables go out."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.config import AttentionTransfer, BetaSearch, RunConfig
from launch.grid import GridRun
from launch.live import number
from launch.plan import Action, Decision, Found

PIPE_WIDTH = 160
ACTIONS: dict[Action, str] = {"skip": "done", "run": "can start now", "wait": "waiting", "blocked": "blocked"}


def plan_document(grid: str, plan: Sequence[Decision]) -> dict[str, Any]:
    """The plan as JSON values."""
    return {
        "grid": grid,
        "runs": [
            {
                **_identity(decision.run),
                "needs": list(decision.run.needs),
                "cells": list(decision.run.cells),
                "config": config_summary(decision.run.config),
                "action": decision.action,
                "reason": decision.reason,
            }
            for decision in plan
        ],
    }


def status_document(grid: str, runs: Sequence[GridRun], found: Mapping[str, Found]) -> dict[str, Any]:
    """Where each run stands, as JSON values."""
    return {
        "grid": grid,
        "runs": [
            {
                **_identity(run),
                "state": found[run.run_id].state,
                "job": found[run.run_id].job,
                "epoch": found[run.run_id].epoch,
                "epochs": found[run.run_id].epochs,
                "mean_auroc": found[run.run_id].mean_auroc,
                "images_per_s": found[run.run_id].images_per_s,
                "error": found[run.run_id].error,
            }
            for run in runs
        ],
    }


def _identity(run: GridRun) -> dict[str, str]:
    return {"id": run.run_id, "name": run.name, "kind": run.kind}


def config_summary(config: RunConfig) -> dict[str, Any]:
    """The fields in which the runs of a grid differ; beta is a number, ``search``, or null without one."""
    objective = config.objective
    summary: dict[str, Any] = {
        "dataset": config.data.dataset,
        "subset": config.data.subset,
        "init": config.init.source,
        "method": objective.method,
        "teacher": None if objective.teacher is None else objective.teacher.source,
        "beta": None,
        "network": config.network.name,
        "scope": config.network.scope,
        "epochs": config.schedule.epochs,
        "seed": config.seed,
    }
    if isinstance(objective, AttentionTransfer):
        summary["beta"] = "search" if isinstance(objective.beta, BetaSearch) else objective.beta
    return summary


def plan_tables(plan: Sequence[Decision]) -> Iterator[Table]:
    """A table for each kind of run: what is to be done, the run, the tables it enters, why."""
    for kind, decisions in groupby(plan, key=lambda decision: decision.run.kind):
        table = _table("action", kind, "tables", "why")
        for decision in decisions:
            table.add_row(decision.action, decision.run.name, "+".join(decision.run.cells), decision.reason)
        yield table


def status_tables(runs: Sequence[GridRun], found: Mapping[str, Found]) -> Iterator[Table]:
    """A table for each kind of run: its state, epochs done, AUROC, speed, and what went wrong."""
    for kind, group in groupby(runs, key=lambda run: run.kind):
        table = _table("state", kind, "epoch", "AUROC", "images/s", "error or why it waits")
        for run in group:
            state = found[run.run_id]
            epoch = "-" if state.epoch is None else f"{state.epoch}/{state.epochs}"
            scores = number(state.mean_auroc, 4), number(state.images_per_s, 0)
            table.add_row(state.state, run.name, epoch, *scores, state.error or state.waits_for or "")
        yield table


def _table(*headers: str) -> Table:
    """Columns that never vanish: long text folds, numbers keep their width."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in headers:
        folds = header in ("prerequisite", "search", "repetition", "why", "error or why it waits")
        is_number = header in ("epoch", "AUROC", "images/s")
        table.add_column(
            header, overflow="fold", no_wrap=not folds, justify="right" if is_number else "left", min_width=6
        )
    return table


def print_plan(plan: Sequence[Decision]) -> None:
    """Print the plan and how many runs it holds of each action."""
    _print(plan_tables(plan))
    actions = Counter(decision.action for decision in plan)
    _print_counts(len(plan), {words: actions[action] for action, words in ACTIONS.items()})


def print_status(runs: Sequence[GridRun], found: Mapping[str, Found]) -> None:
    """Print where the runs stand and how many are in each state."""
    _print(status_tables(runs, found))
    _print_counts(len(runs), Counter(found[run.run_id].state for run in runs))


def _print(tables: Iterator[Table]) -> None:
    to_pipe = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(width=PIPE_WIDTH if to_pipe else None, highlight=False)
    for table in tables:
        console.print(table)
        console.print()


def _print_counts(total: int, counts: Mapping[str, int]) -> None:
    print(
        f"{total} {'run' if total == 1 else 'runs'}: "
        + ", ".join(f"{count} {words}" for words, count in counts.items() if count)
    )
