"""Show what the cells of a grid can show: rich tables for people, JSON values for scripts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from launch.plan.power import LEVEL, POWER, Assumptions, CellPower
from launch.plan.tables import make_table, plural

SHOWN_NAMES = 3
CELL_HEADERS = ("cells", "repetitions", "patients", "by seeds", "by patients", "mean", "one label")
LABEL_HEADERS = ("label", "positives", "prevalence", "difference")


def power_document(cells: Sequence[CellPower], missing: Sequence[str], assumed: Assumptions) -> dict[str, Any]:
    """Return assumptions and cells as JSON values; deviations and differences in points of AUROC."""
    return {
        "power": POWER,
        "level": LEVEL,
        "auroc": assumed.auroc,
        "correlation": assumed.correlation,
        "label_correlation": assumed.label_correlation,
        "without_beton": list(missing),
        "cells": [
            {
                "name": cell.name,
                "dataset": cell.config.data.dataset,
                "subset": cell.config.data.subset,
                "repetitions": cell.repetitions,
                "images": cell.split.images,
                "patients": cell.split.patients,
                "sd_seeds": cell.sd_seeds,
                "sd_seeds_from_runs": cell.seeds_from,
                "sd_patients": cell.sd_patients,
                "smallest_difference": cell.mean,
                "labels": {
                    label: {"positives": cell.split.positives[label], "smallest_difference": difference}
                    for label, difference in cell.labels.items()
                },
            }
            for cell in cells
        ],
    }


def alike(cells: Sequence[CellPower]) -> list[list[CellPower]]:
    """Cells that can show the same, together."""
    groups: dict[tuple[object, ...], list[CellPower]] = defaultdict(list)
    for cell in cells:
        groups[cell.config.data.dataset, cell.repetitions, cell.sd_seeds, cell.seeds_from].append(cell)
    return list(groups.values())


def power_table(cells: Sequence[CellPower]) -> Table:
    """Make a table of a row for all cells that can show the same."""
    table = make_table(*CELL_HEADERS, left=("cells",), right=CELL_HEADERS[1:])
    for group in alike(cells):
        first, names = group[0], [cell.name for cell in group]
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        least, most = min(first.labels.values()), max(first.labels.values())
        table.add_row(
            ", ".join(names[:SHOWN_NAMES]) + more,
            str(first.repetitions),
            f"{first.split.patients:,}",
            f"{first.sd_seeds:.2f} {'measured' if first.seeds_from else 'assumed'}",
            f"{first.sd_patients:.2f}",
            f"{first.mean:.2f}",
            f"{least:.2f} to {most:.2f}" if len(first.labels) > 1 else f"{least:.2f}",
        )
    return table


def label_tables(cells: Sequence[CellPower]) -> Iterator[tuple[str, Table]]:
    """Yield a heading and a table of labels for all cells that can show the same."""
    for group in alike(cells):
        first = group[0]
        table = make_table(*LABEL_HEADERS, left=("label",), right=LABEL_HEADERS[1:])
        for label, difference in first.labels.items():
            positives, negatives = first.split.positives[label], first.split.negatives[label]
            share = f"{positives / (positives + negatives):.1%}"
            table.add_row(label, f"{positives:,}", share, f"{difference:.2f}")
        cells_of = f"{plural(len(group), 'cell')} of {plural(first.repetitions, 'repetition')}"
        yield f"{first.config.data.dataset}, {first.sd_seeds:.2f} points by seeds, {cells_of}", table


def assumption_lines(cells: Sequence[CellPower], missing: Sequence[str], assumed: Assumptions) -> Iterator[str]:
    """Yield what the figures rest on, and the datasets without a beton, of whose cells nothing can be told."""
    if missing:
        names = ", ".join(missing)
        yield f"smallest differences: not known without the betons of {names}, whose test splits they rest on"
    if not cells:
        return
    yield (
        f"points of AUROC that a cell shows against another of as many repetitions with power {POWER:g} at level "
        f"{LEVEL:g}, by an interval over patients and seeds; of one label at Holm's first step, {LEVEL:g} / labels"
    )
    yield (
        f"assumed: AUROC {assumed.auroc:g}; estimates of two methods correlate by {assumed.correlation:g}, "
        f"differences of two labels by {assumed.label_correlation:g}; images of one patient count as one"
    )
    count = sum(group[0].seeds_from for group in alike(cells))
    measured = f"by seeds: measured on {plural(count, 'finished run')} of the same training images; else assumed"
    yield measured if count else "by seeds: assumed, for the mean of the labels; a single label varies more"
    if any(cell.repetitions == 1 for cell in cells):
        yield "with one repetition no test tells method from seed: its figure takes the spread of seeds as known"
