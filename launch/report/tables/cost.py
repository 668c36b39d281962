"""Runs come in; what they cost goes out: device hours by cell, throughput by network, method and device."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from launch.report.read.collect import Run
from launch.report.read.names import word
from launch.report.statistics.cells import Cell
from launch.report.tables.table import Column, Table, Value, number_value, run_links, text_value

HOUR_S = 3600.0


@dataclass(frozen=True)
class Cost:
    """Hours of one run so far."""

    gpu_h: float
    """Hours of the run times its GPUs; 0 on the CPU."""
    core_h: float
    """Hours of the run times its torch threads and processes on the CPU; 0 on GPUs."""
    lost_h: float | None
    """Hours from the first start to the end that the run's own clock does not count; None while it is not done."""

    def __add__(self, other: Cost) -> Cost:
        lost = [value for value in (self.lost_h, other.lost_h) if value is not None]
        return Cost(self.gpu_h + other.gpu_h, self.core_h + other.core_h, sum(lost) if lost else None)


def run_cost(run: Run) -> Cost | None:
    """What the run has cost so far; None before its first epoch ended."""
    seconds = run.result.seconds if run.result else None
    if seconds is None:
        seconds = next((epoch.elapsed_s for epoch in reversed(run.epochs) if epoch.elapsed_s is not None), None)
    if seconds is None:
        return None
    hours = seconds / HOUR_S
    threads = [_threads(device) for device in run.devices]
    gpus = sum(count is None for count in threads)
    return Cost(hours * gpus, hours * sum(count or 0 for count in threads), _lost(run, seconds))


def _threads(device: str) -> int | None:
    """Torch threads of a process on the CPU, as provenance.json words it; None for a GPU."""
    found = re.fullmatch(r"cpu(?:, (\d+) threads?)?", device)
    return None if found is None else int(found.group(1) or 1)


def _lost(run: Run, seconds: float) -> float | None:
    if run.result is None or run.started is None or run.ended is None:
        return None
    return max(0.0, run.ended - run.started - seconds) / HOUR_S


def device_text(run: Run) -> str:
    """The devices of a run in words, equal ones counted: ``2 x NVIDIA H100``."""
    counts = dict.fromkeys(run.devices, 0)
    for device in run.devices:
        counts[device] += 1
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items()) or "unknown"


def cost_tables(cells: Sequence[Cell]) -> list[Table]:
    """Cost by cell and throughput by device; none when no run recorded either."""
    tables = [_cost_table(cells), _throughput_table([run for cell in cells for run in cell.runs])]
    return [table for table in tables if table is not None]


def _cost_table(cells: Sequence[Cell]) -> Table | None:
    rows, total = [], Cost(0.0, 0.0, None)
    for cell in cells:
        costs = [cost for cost in map(run_cost, cell.runs) if cost is not None]
        if costs:
            own = sum(costs[1:], costs[0])
            total += own
            rows.append(_cost_row(cell, own, len(costs)))
    if not rows:
        return None
    restarts = sum(_restarts(run) for cell in cells for run in cell.runs)
    blank = text_value("")
    everything = (Value(("All",), sort="~", mark="head"), blank, blank, blank, *_cost_values(total, restarts))
    names = ("Trained on", "Training images", "Network", "Method")
    numbers = ("Runs", "GPU-hours", "CPU core-hours", "Restarts", "Time lost (h)")
    columns = (*(Column((name,), numeric=False) for name in names), *(Column((name,)) for name in numbers))
    count = number_value(sum(len(cell.runs) for cell in cells), "d")
    return Table(
        key="cost",
        title="Cost of the grid",
        columns=columns,
        rows=(*rows, (*everything[:4], count, *everything[4:])),
        notes=(
            "Hours of training and validation that count towards the run, times its GPUs, or its processes and their "
            "torch threads; unfinished runs up to their last epoch. Time lost is the rest of the time from the first "
            "start of a finished run to its end: start-up, waits between starts, steps done again, the test split.",
        ),
    )


def _cost_row(cell: Cell, cost: Cost, count: int) -> tuple[Value, ...]:
    label = cell.label
    words = (word(label.dataset), label.subset, word(label.network), cell.method_text)
    runs = Value((f"{count}",), sort=count, links=run_links(cell))
    return (*map(text_value, words), runs, *_cost_values(cost, sum(map(_restarts, cell.runs))))


def _cost_values(cost: Cost, restarts: int) -> tuple[Value, ...]:
    hours = [number_value(value or None, ".3f") for value in (cost.gpu_h, cost.core_h)]
    return (*hours, number_value(restarts, "d"), number_value(cost.lost_h, ".3f"))


def _restarts(run: Run) -> int:
    return run.result.restarts if run.result else run.num_starts_before


def _throughput_table(runs: Iterable[Run]) -> Table | None:
    groups: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        if _speed(run) is not None:
            label = (run.config.network.name, run.config.network.scope, run.config.objective.method)
            size, batch = str(run.config.data.image_size), str(run.config.schedule.batch_size)
            groups[(*label, size, batch, run.precision, device_text(run))].append(run)
    if not groups:
        return None
    names = ("Network", "Layers", "Method", "Image (px)", "Batch", "Arithmetic", "Device")
    numbers = ("Runs", "Images/s, median", "lowest", "highest", "Waiting for data (%)")
    columns = (*(Column((name,), numeric=False) for name in names), *(Column((name,)) for name in numbers))
    rows = [(*_words(key), *_speeds(members)) for key, members in sorted(groups.items())]
    note = (
        "Images/s counts training steps alone, over a whole run; waiting is the share of that time without a batch."
    )
    return Table(key="throughput", title="Throughput", columns=columns, rows=tuple(rows), notes=(note,))


def _words(key: tuple[str, ...]) -> list[Value]:
    network, scope, method, size, batch, precision, device = key
    numbers = [Value((text,), sort=float(text)) for text in (size, batch)]
    return [
        *(text_value(word(name)) for name in (network, scope, method)),
        *numbers,
        *map(text_value, (precision, device)),
    ]


def _speeds(runs: Sequence[Run]) -> tuple[Value, ...]:
    speeds = [speed for speed in map(_speed, runs) if speed is not None]
    waits = [epoch for run in runs for epoch in run.epochs if epoch.data_wait_s is not None and epoch.compute_s]
    waited = sum(epoch.data_wait_s or 0.0 for epoch in waits)
    whole = waited + sum(epoch.compute_s or 0.0 for epoch in waits)
    figures = [number_value(value, ",.1f") for value in (statistics.median(speeds), min(speeds), max(speeds))]
    return (number_value(len(runs), "d"), *figures, number_value(100 * waited / whole if whole else None, ".1f"))


def _speed(run: Run) -> float | None:
    return run.result.images_per_s if run.result else None
