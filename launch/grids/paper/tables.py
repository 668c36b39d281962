"""The printed tables: ``paper_grid.csv`` has the prerequisites and each configuration of Tables 2, 3 and 5."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PaperConfiguration:
    """One row: a prerequisite (P1..P3) or a configuration (R01..R63)."""

    key: str
    """P1..P3, R01..R63."""
    name: str
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
    scope: str
    """all or last34."""
    trainable_params: int
    tables: tuple[str, ...]
    """Tables that print the configuration, in all 79 cells; empty for a prerequisite."""
    auc: float
    """Printed mean test AUROC in percent; NaN for a prerequisite."""
    ci: float
    """Printed half width of the 95 % confidence interval in percentage points."""
    depends_on: tuple[str, ...]
    """Keys of the prerequisites whose weights the configuration starts from or imitates."""


@cache
def paper_configurations() -> tuple[PaperConfiguration, ...]:
    """Return P1..P3 and R01..R63 in the order of the file, which within a table is the printed one."""
    with (Path(__file__).parent / "paper_grid.csv").open(newline="", encoding="utf-8") as handle:
        rows: list[dict[str, Any]] = list(csv.DictReader(handle))
    for row in rows:
        row["trainable_params"] = int(row["trainable_params"])
        row |= {name: float(row[name] or "nan") for name in ("auc", "ci")}
        row |= {name: tuple(row[name].split("+")) if row[name] else () for name in ("tables", "depends_on")}
    return tuple(PaperConfiguration(**row) for row in rows)


def printed_cells() -> dict[str, dict[str, Any]]:
    """Return row, mean AUROC and half width of its interval, in percent, by a configuration's name."""
    rows = [row for row in paper_configurations() if row.tables]
    return {row.name: {"row": row.key, "auc": row.auc, "ci": row.ci} for row in rows}
