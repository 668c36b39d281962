"""What the runs cost: device hours by cell, throughput by network, method and device."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from launch.report.content import ReportData
from launch.report.read.collect import Run
from launch.report.read.names import word
from launch.report.statistics.cells import Cell
from launch.report.tables.table import Table, Value, head, number_columns, number_value, row, run_links, text_columns

HOUR_S = 3600.0
SETTINGS = ["network", "scope", "method", "image_size", "batch_size", "precision", "device"]
"""What runs of one row of the throughput table have in common."""
COST_NOTE = (
    "Hours of training and validation that count towards the run, times its GPUs, or its processes and their torch "
    "threads; unfinished runs up to their last epoch. Time lost is the rest of the time from the first start of a "
    "finished run to its end: start-up, waits between starts, steps done again, the test split."
)
ENERGY_NOTE = (
    "Energy is what the devices' counters told of all starts of a run, lost steps and the test split included: of a "
    "GPU its share among the processes on it, of a CPU its share of the processors'. Runs without are left out."
)
THROUGHPUT_NOTE = (
    "Images/s counts training steps alone, over a whole run; waiting is the share of that time without a batch."
)


class Cost(NamedTuple):
    """Hours of one run so far."""

    gpu_h: float
    """Hours of the run times its GPUs; 0 on the CPU."""
    core_h: float
    """Hours of the run times its torch threads and processes on the CPU; 0 on GPUs."""
    lost_h: float | None
    """Hours from the first start to the end that the run's own clock does not count; None while it is not done."""
    kwh: float | None
    """Energy that its devices used; None where they do not tell."""


def run_cost(run: Run) -> Cost | None:
    """What the run has cost so far; None before its first epoch ended."""
    seconds = run.result.seconds if run.result else None
    if seconds is None:
        seconds = next((epoch.elapsed_s for epoch in reversed(run.epochs) if epoch.elapsed_s is not None), None)
    if seconds is None:
        return None
    hours = seconds / HOUR_S
    threads = [_threads(device) for device in run.devices]
    lost = None
    if run.result is not None and run.started is not None and run.ended is not None:
        lost = max(0.0, run.ended - run.started - seconds) / HOUR_S
    return Cost(hours * threads.count(None), hours * sum(count or 0 for count in threads), lost, run.energy_kwh)


def _threads(device: str) -> int | None:
    """Torch threads of a process on the CPU, as provenance.json words it; None for a GPU."""
    found = re.fullmatch(r"cpu(?:, (\d+) threads?)?", device)
    return None if found is None else int(found.group(1) or 1)


def device_text(run: Run) -> str:
    """The devices of a run in words, equal ones counted: ``2 x NVIDIA H100``."""
    counts = Counter(run.devices)
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items()) or "unknown"


def cost(data: ReportData) -> list[Table]:
    """Hours by cell, and throughput by device; what no run recorded is left out."""
    runs = [run for cell in data.cells for run in cell.runs]
    return [*_cost_table(data.cells, runs), *_throughput_table(runs)]


def _cost_table(cells: Sequence[Cell], all_runs: Sequence[Run]) -> list[Table]:
    rows, tells = [], any(run.energy_kwh is not None for run in all_runs)
    for cell in cells:
        count = sum(run_cost(run) is not None for run in cell.runs)
        if count:
            words = (word(cell.label.dataset), cell.label.subset, word(cell.label.network), cell.method_text)
            runs = Value((f"{count}",), sort=count, links=run_links(cell))
            rows.append(row(*words, runs, *_cost_values(cell.runs, tells)))
    total = row(head("All", sort="~"), "", "", "", number_value(len(all_runs), "d"), *_cost_values(all_runs, tells))
    columns = (
        *text_columns("Trained on", "Training images", "Network", "Method"),
        *number_columns("Runs", "GPU-hours", "CPU core-hours", "Restarts", "Time lost (h)"),
        *(number_columns("Energy (kWh)") if tells else ()),
    )
    notes = (COST_NOTE, ENERGY_NOTE) if tells else (COST_NOTE,)
    table = Table(key="cost", title="Cost of the grid", columns=columns, rows=(*rows, total), notes=notes)
    return [table] if rows else []


def _cost_values(runs: Sequence[Run], tells: bool) -> list[Value]:
    costs = pd.DataFrame(filter(None, map(run_cost, runs)), columns=Cost._fields, dtype=float).sum(min_count=1)
    restarts = sum(run.result.restarts if run.result else run.num_starts_before for run in runs)
    lost = None if pd.isna(costs["lost_h"]) else costs["lost_h"]
    hours = (number_value(costs[name] or None, ".3f") for name in ("gpu_h", "core_h"))
    energy = [number_value(None if pd.isna(costs["kwh"]) else costs["kwh"], ".3g")] if tells else []
    return [*hours, number_value(restarts, "d"), number_value(lost, ".3f"), *energy]


def _throughput_table(runs: Sequence[Run]) -> list[Table]:
    measured = [_throughput(run) for run in runs if run.result and run.result.images_per_s is not None]
    if not measured:
        return []
    groups = pd.DataFrame(measured).groupby(SETTINGS)
    speeds = groups["images_per_s"].agg(["size", "median", "min", "max"])
    found = pd.concat([speeds, groups[["waited_s", "computed_s"]].sum()], axis=1).reset_index()
    rows = tuple(map(_throughput_row, found.to_dict("records")))
    columns = (
        *text_columns("Network", "Layers", "Method", "Image (px)", "Batch", "Arithmetic", "Device"),
        *number_columns("Runs", "Images/s, median", "lowest", "highest", "Waiting for data (%)"),
    )
    return [Table(key="throughput", title="Throughput", columns=columns, rows=rows, notes=(THROUGHPUT_NOTE,))]


def _throughput(run: Run) -> dict[str, Any]:
    config, timed = run.config, [epoch for epoch in run.epochs if epoch.data_wait_s is not None and epoch.compute_s]
    return {
        "network": config.network.name,
        "scope": config.network.scope,
        "method": config.objective.method,
        "image_size": config.data.image_size,
        "batch_size": config.schedule.batch_size,
        "precision": run.precision,
        "device": device_text(run),
        "images_per_s": run.result.images_per_s if run.result else None,
        "waited_s": sum(epoch.data_wait_s or 0.0 for epoch in timed),
        "computed_s": sum(epoch.compute_s or 0.0 for epoch in timed),
    }


def _throughput_row(group: Mapping[Hashable, Any]) -> tuple[Value, ...]:
    whole = group["waited_s"] + group["computed_s"]
    return row(
        *(word(group[name]) for name in ("network", "scope", "method")),
        *(number_value(group[name], "d") for name in ("image_size", "batch_size")),
        *(group["precision"], group["device"], number_value(group["size"], "d")),
        *(number_value(group[name], ",.1f") for name in ("median", "min", "max")),
        number_value(100 * group["waited_s"] / whole if whole else None, ".1f"),
    )
