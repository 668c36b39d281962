"""The paper's printed tables, read from the CSV files beside this module.

``paper_grid.csv`` lists the prerequisites and the 63 configurations of Tables 2, 3 and 5 one by one;
``paper_results.csv`` the 79 printed cells, some of which repeat a configuration.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
GRID_FILE = FOLDER / "paper_grid.csv"
RESULTS_FILE = FOLDER / "paper_results.csv"


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """What both files say of an experiment."""

    dataset: str
    """chexpert, chestxray14 or mimic_cxr."""
    train_size: str
    """1k, 5k, 50k, 178k (all of CheXpert), 5.6k (the ChestX-ray14 sample) or full."""
    init: str
    """imagenet or chestxray14."""
    method: str
    """transfer_learning or attention_transfer."""
    teacher: str
    """none, imagenet or mimic_cxr."""
    student: str
    """densenet121 or densenet40."""
    trainable_params: int


@dataclass(frozen=True, kw_only=True)
class PaperConfiguration(PaperRow):
    """One row of paper_grid.csv: a prerequisite (P1..P3) or a configuration (R01..R63)."""

    key: str
    """P1..P3, R01..R63."""
    name: str
    scope: str
    """all or last34."""
    tables: tuple[str, ...]
    """Tables that print the configuration; empty for a prerequisite."""
    auc: float | None
    """Printed mean test AUROC in percent; None for a prerequisite."""
    ci: float | None
    """Printed half width of the 95 % confidence interval in percentage points."""
    depends_on: tuple[str, ...]
    """Keys of the prerequisites whose weights the configuration starts from or imitates."""


@dataclass(frozen=True, kw_only=True)
class PaperCell(PaperRow):
    """One printed cell, a row of paper_results.csv."""

    table: str
    auc: float
    ci: float


@cache
def paper_configurations() -> tuple[PaperConfiguration, ...]:
    """Return P1..P3 and R01..R63 in the order of the file."""
    return tuple(
        PaperConfiguration(
            key=row["run_id"],
            name=row["name"],
            scope=row["scope"],
            tables=_joined(row["tables"]),
            auc=_number(row["paper_auc"]),
            ci=_number(row["paper_ci"]),
            depends_on=_joined(row["depends_on"]),
            **_common(row),
        )
        for row in _rows(GRID_FILE)
    )


@cache
def paper_cells() -> tuple[PaperCell, ...]:
    """Return the 79 printed cells in the order of the file: tables 2a, 2b, 3, 5."""
    return tuple(
        PaperCell(table=row["table"], auc=float(row["auc"]), ci=float(row["ci"]), **_common(row))
        for row in _rows(RESULTS_FILE)
    )


def printed_cells() -> dict[str, dict[str, Any]]:
    """Return row, mean AUROC and half width of its interval, in percent, by a configuration's name."""
    rows = [row for row in paper_configurations() if row.auc is not None]
    return {row.name: {"row": row.key, "auc": row.auc, "ci": row.ci} for row in rows}


def _common(row: dict[str, str]) -> dict[str, Any]:
    names = ("dataset", "train_size", "init", "method", "teacher", "student")
    return {**{name: row[name] for name in names}, "trainable_params": int(row["trainable_params"])}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _joined(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split("+") if part not in ("", "-"))


def _number(text: str) -> float | None:
    return float(text) if text else None
