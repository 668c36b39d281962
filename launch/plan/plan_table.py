"""What ``cxr grid plan`` prints: decisions and what they cost come in; JSON values or tables go out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.table import Table

from harness.config import AttentionTransfer, BetaSearch, RunConfig
from launch.grids.grid import GridRun
from launch.plan.cost import Estimate
from launch.plan.decide import Action, Decision
from launch.plan.table import MAX_ROWS, make_table, print_counts, print_tables

ACTIONS: dict[Action, str] = {"skip": "done", "run": "can start now", "wait": "waiting", "blocked": "blocked"}
HEADERS = ("action", "", "tables", "needs", "images", "GPU-h", "why")


def plan_document(grid: str, plan: Sequence[Decision], cost: Estimate) -> dict[str, Any]:
    """The plan as JSON values."""
    printed = printed_cells(grid)
    return {
        "grid": grid,
        "cost": cost_document(cost),
        "runs": [
            {
                **identity(decision.run),
                "needs": list(decision.run.needs),
                "cells": list(decision.run.cells),
                "printed": printed.get(decision.run.name.rpartition("_r")[0]),
                "config": config_summary(decision.run.config),
                "cost": _run_cost(decision.run, cost),
                "action": decision.action,
                "reason": decision.reason,
            }
            for decision in plan
        ],
    }


def identity(run: GridRun) -> dict[str, str]:
    """What names a run in JSON."""
    return {"id": run.run_id, "name": run.name, "kind": run.kind}


def _run_cost(run: GridRun, cost: Estimate) -> dict[str, Any]:
    work = cost.works[run.run_id]
    return {
        "train_images": work.train_images,
        "teacher_images": work.teacher_images,
        "validation_images": work.validation_images,
        "gpu_hours": cost.hours[run.run_id],
        "gpu_hours_left": cost.left[run.run_id],
    }


def cost_document(cost: Estimate) -> dict[str, Any]:
    """Sums over all runs and the critical path, as JSON values."""
    works = cost.works.values()
    return {
        "throughput": cost.throughput.source,
        "train_images": sum(work.train_images for work in works),
        "teacher_images": sum(work.teacher_images for work in works),
        "validation_images": sum(work.validation_images for work in works),
        "gpu_hours": sum(cost.hours.values()),
        "gpu_hours_left": sum(cost.left.values()),
        "critical_path": {"hours": cost.chain_hours, "runs": [run.name for run in cost.chain]},
    }


def printed_cells(grid: str) -> dict[str, dict[str, Any]]:
    """For the paper's grid what its tables print: by a configuration's name its row and mean AUROC in percent."""
    if grid != "paper":
        return {}
    from launch.grids.paper.tables import paper_configurations

    return {
        row.name: {"row": row.key, "auc": row.auc, "ci": row.ci}
        for row in paper_configurations()
        if row.auc is not None
    }


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


def plan_tables(plan: Sequence[Decision], cost: Estimate) -> Iterator[Table]:
    """A table for each kind of run: what is to be done, the run, the tables it enters, how many runs it needs, the
    images that it trains and validates on, the GPU-hours that it still takes, and why."""
    for kind, decisions in groupby(plan, key=lambda decision: decision.run.kind):
        table = make_table(*(header or kind for header in HEADERS))
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


def print_plan(plan: Sequence[Decision], cost: Estimate) -> None:
    """Print the plan, what it costs, and how many runs it holds of each action; of a huge grid only the sums."""
    if len(plan) <= MAX_ROWS:
        print_tables(plan_tables(plan, cost))
    else:
        print(f"more than {MAX_ROWS} runs: choose a part with --name, --dataset, --size, or print all with --json\n")
    print("\n".join(cost_lines(cost)))
    actions = Counter(decision.action for decision in plan)
    print_counts(len(plan), {words: actions[action] for action, words in ACTIONS.items()})


def cost_lines(cost: Estimate) -> list[str]:
    """Sums, the critical path and where the throughput comes from, as lines."""
    document: Mapping[str, Any] = cost_document(cost)
    path = " -> ".join(run.name for run in cost.chain) or "nothing left"
    return [
        f"images: {count_of(document['train_images'])} trained on, {count_of(document['teacher_images'])} of them "
        f"through a teacher too, {count_of(document['validation_images'])} validated on",
        f"GPU-hours: {hours_of(document['gpu_hours'])}, of which {hours_of(document['gpu_hours_left'])} are left "
        f"(throughput: {cost.throughput.source})",
        f"critical path: {hours_of(cost.chain_hours)} hours: {path}",
    ]


def count_of(number: float) -> str:
    """A count as 950, 12.8 k, 130.2 M or 1.27 G."""
    for size, letter, digits in ((1e9, "G", 2), (1e6, "M", 1), (1e3, "k", 1)):
        if number >= size:
            return f"{number / size:.{digits}f} {letter}"
    return f"{number:.0f}"


def hours_of(hours: float) -> str:
    """Hours with as many digits as matter; a dash for none."""
    if hours == 0.0:
        return "-"
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"
