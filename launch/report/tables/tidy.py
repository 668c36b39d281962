"""Write tables.csv: one row for each cell, for a spreadsheet or pandas."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from launch.report.read.names import CellLabel
from launch.report.statistics.cells import Cell
from launch.report.tables.paper_tables import Place, matching_cells, printed_places

COLUMNS = (
    *("table", *CellLabel._fields, "image_size", "role", "differs", "attention_weights"),
    *("n", "num_unfinished", "mean", "ci95", "ci95_t", "values"),
    *("paper_id", "paper_mean", "paper_ci95", "difference", "doubtful", "run_ids"),
)
"""Columns of tables.csv. Scores are points (100 x AUROC); lists are joined by a blank; empty means not there."""


def tidy_csv(cells: Sequence[Cell]) -> str:
    """All cells under ``table`` = all, then the places of the paper's tables under 2a, 2b, 3 and 5.

    A table of the paper is listed when one of its places or more has a run; its other places then have n = 0.
    """
    rows = [{"table": "all", **_cell_fields(cell)} for cell in cells]
    chosen, _ = matching_cells(cells)
    present = {place.table for place in printed_places() if place.label in chosen}
    for place in printed_places():
        if place.table in present:
            rows.append({"table": place.table, **_place_fields(place, chosen.get(place.label))})
    return pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False)


def _cell_fields(cell: Cell) -> dict[str, str]:
    summary = cell.summary
    return {
        **cell.label._asdict(),
        "image_size": str(cell.config.data.image_size),
        "role": cell.role,
        "differs": cell.differs,
        "attention_weights": " ".join(f"{weight:.6g}" for weight in cell.weights),
        "n": str(summary.n if summary else 0),
        "num_unfinished": str(cell.num_unfinished),
        "mean": _number(summary.mean if summary else None),
        "ci95": _number(summary.normal_half if summary else None),
        "ci95_t": _number(summary.t_half if summary else None),
        "values": " ".join(_number(value) for value in cell.points if value is not None),
        "run_ids": " ".join(run.run_id for run in cell.runs),
    }


def _place_fields(place: Place, cell: Cell | None) -> dict[str, str]:
    fields = {"n": "0", "num_unfinished": "0", **place.label._asdict()} if cell is None else _cell_fields(cell)
    mean = cell.summary.mean if cell is not None and cell.summary else None
    return {
        **fields,
        "paper_id": place.printed.key,
        "paper_mean": f"{place.printed.auc:.2f}",
        "paper_ci95": f"{place.printed.ci:.2f}",
        "difference": _number(None if mean is None else mean - place.printed.auc),
        "doubtful": "yes" if place.doubtful else "no",
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
