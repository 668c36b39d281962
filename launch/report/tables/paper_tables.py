"""Tables 2A, 2B, 3 and 5 of the paper: our value, the printed one, and the difference; and tables.csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import pandas as pd

from launch.grids.paper import PaperConfiguration, paper_configurations
from launch.report.content import ReportData
from launch.report.read.names import CellLabel, word
from launch.report.statistics.cells import Cell, grouped
from launch.report.tables.table import Column, Table, Value, cell_notes, row, score_value, signed, text_columns

IMAGE_SIZE_PX = 256
"""The paper's input size; cells of another size are not set against the printed values."""
FULL_SIZE = {"chexpert": "178k", "chestxray14_5.6k": "5.6k"}
"""How the paper calls the whole training split."""
FIGURE_3 = {("chexpert", "5k"), ("chestxray14_5.6k", "full")}
COPIED_COLUMNS = {("2a", "transfer_learning", "last34"), ("2b", "transfer_learning", "all")}
COPIED_ROWS = {("50k", "chestxray14"), ("50k", "imagenet"), ("178k", "imagenet")}
"""Training images and initial weights at which the two columns print the same mean and interval."""
TITLES = {
    "2a": "Table 2A: transfer learning and attention transfer to DenseNet-121",
    "2b": "Table 2B: transfer learning and attention transfer to DenseNet-40",
    "3": "Table 3: attention transfer from ImageNet and MIMIC-CXR teachers",
    "5": "Table 5: the small target, 5,606 images of ChestX-ray14",
}
DOUBTFUL_NOTE = (
    "† doubtful: the paper prints the same mean and interval for transfer learning to the last 34 layers of "
    "DenseNet-121 (Table 2A) and to DenseNet-40 (Table 2B); one was probably copied, and it cannot be told which."
)
NOTE = (
    "Each place: our mean ± 1.96 s / sqrt(n) and, in brackets, Student's 95 % interval, with n unless it is 3; the "
    "paper's printed value; our mean minus it. Points are 100 x mean test AUROC; the paper has n = 3."
)

COLUMNS = (
    *("table", *CellLabel._fields, "image_size", "role", "differs", "precision", "attention_weights"),
    *("n", "num_unfinished", "mean", "ci95", "ci95_t", "values"),
    *("paper_id", "paper_mean", "paper_ci95", "difference", "doubtful", "run_ids"),
)
"""Columns of tables.csv. Scores are points (100 x AUROC); lists are joined by a blank; empty means not there."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One printed place of a table, and the label that a cell of ours must have to stand there."""

    table: str
    printed: PaperConfiguration
    label: CellLabel

    @property
    def column(self) -> tuple[str, ...]:
        """What the places of one column have in common: method, teacher, network and scope."""
        return self.label[3:]

    @property
    def head(self) -> tuple[str, ...]:
        method = "TL" if self.label.method == "transfer_learning" else f"AT, {self.label.teacher_text} teacher"
        return (method, word(self.label.network), f"{self.printed.trainable_params / 1e6:.1f}m trainable")

    @property
    def doubtful(self) -> bool:
        """Whether the printed value was probably copied from another column."""
        column = (self.table, self.printed.method, self.label.scope)
        return column in COPIED_COLUMNS and (self.printed.train_size, self.printed.init) in COPIED_ROWS


@cache
def printed_places() -> tuple[Place, ...]:
    """All 79 printed places in the order of the tables."""
    places = []
    cells = ((table, one) for table in TITLES for one in paper_configurations() if table in one.tables)
    for table, printed in cells:
        dataset = "chestxray14_5.6k" if printed.train_size == "5.6k" else printed.dataset
        subset = "full" if FULL_SIZE[dataset] == printed.train_size else printed.train_size
        columns = (printed.method, printed.teacher, printed.student, printed.scope)
        places.append(Place(table=table, printed=printed, label=CellLabel(dataset, subset, printed.init, *columns)))
    return tuple(places)


def matching_cells(cells: Sequence[Cell]) -> tuple[dict[CellLabel, Cell], dict[CellLabel, str]]:
    """Our cell for each label of the paper's grid, and a note where more than one cell has the label.

    Runs of a beta search do not count. Of several cells the one with the most finished repetitions is taken.
    """
    wanted = {place.label for place in printed_places()}
    ours = [cell for cell in cells if cell.role != "search" and cell.config.data.image_size == IMAGE_SIZE_PX]
    chosen: dict[CellLabel, Cell] = {}
    notes: dict[CellLabel, str] = {}
    for label, several in grouped(ours, lambda cell: cell.label).items():
        if label in wanted:
            chosen[label] = max(several, key=lambda cell: len(cell.finished))
            if len(several) > 1:
                notes[label] = (
                    f"{label.group_text}, {label.method_text}, {word(label.network)}: {len(several)} cells match; "
                    f"shown is the one with the most finished repetitions ({chosen[label].differs}); the others "
                    "stand in the table of all cells"
                )
    return chosen, notes


def figure_3_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Cells of the paper's Fig. 3: both networks, all layers, from ImageNet, on CheXpert 5k and the 5,606 images."""
    return [
        cell
        for label, cell in matching_cells(cells)[0].items()
        if (label.dataset, label.subset) in FIGURE_3 and label.init == "imagenet" and label.scope == "all"
    ]


def paper_tables(data: ReportData) -> list[Table]:
    """The paper's tables, those alone in which at least one place has a run of ours."""
    chosen, notes = matching_cells(data.cells)
    tables = []
    for key, places in grouped(printed_places(), lambda place: place.table).items():
        labels = [place.label for place in places if place.label in chosen]
        if labels:
            doubt = (DOUBTFUL_NOTE,) if any(place.doubtful for place in places) else ()
            several = [notes[label] for label in labels if label in notes]
            warnings = cell_notes(chosen[label] for label in labels)
            tables.append(_table(key, places, chosen, (NOTE, *doubt, *several, *warnings)))
    return tables


def _table(key: str, places: list[Place], chosen: dict[CellLabel, Cell], notes: tuple[str, ...]) -> Table:
    """Sizes and initial weights down, methods and networks across."""
    columns = grouped(places, lambda place: place.column)
    heads = [Column(members[0].head) for members in columns.values()]
    rows = []
    for (size, init), across in grouped(places, lambda place: (place.printed.train_size, place.label.init)).items():
        at = {place.column: place for place in across}
        rows.append(row(size, word(init), *(_place_value(at[column], chosen) for column in columns)))
    all_columns = (*text_columns("Training images", "Initial weights"), *heads)
    return Table(key=f"paper-{key}", title=TITLES[key], columns=all_columns, rows=tuple(rows), notes=notes)


def _place_value(place: Place, chosen: dict[CellLabel, Cell]) -> Value:
    printed = f"paper {place.printed.auc:.2f} ± {place.printed.ci:.2f}{' †' if place.doubtful else ''}"
    cell = chosen.get(place.label)
    ours = score_value(cell, with_n=False)
    if cell is None or cell.summary is None:
        return replace(ours, lines=(*ours.lines, printed))
    summary = cell.summary
    n = "" if summary.n == 3 else f", n={summary.n}"
    text = ours.text if summary.t_half is None else f"{ours.text} (t ± {summary.t_half:.2f}{n})"
    lines = (text, printed, f"vs paper {signed(summary.mean - place.printed.auc)}")
    return replace(ours, lines=lines, mark="doubtful" if place.doubtful else "")


def tidy_csv(cells: Sequence[Cell]) -> str:
    """All cells under ``table`` = all, then the places of the paper's tables under 2a, 2b, 3 and 5.

    A table of the paper is listed when one of its places or more has a run; its other places then have n = 0.
    """
    rows = [{"table": "all", **_cell_fields(cell)} for cell in cells]
    chosen, _ = matching_cells(cells)
    present = {place.table for place in printed_places() if place.label in chosen}
    for place in printed_places():
        if place.table in present:
            cell = chosen.get(place.label)
            mean = cell.summary.mean if cell is not None and cell.summary else None
            ours = {**place.label._asdict(), "n": 0, "num_unfinished": 0} if cell is None else _cell_fields(cell)
            paper = {
                "table": place.table,
                "paper_id": place.printed.key,
                "paper_mean": f"{place.printed.auc:.2f}",
                "paper_ci95": f"{place.printed.ci:.2f}",
                "difference": _number(None if mean is None else mean - place.printed.auc),
                "doubtful": "yes" if place.doubtful else "no",
            }
            rows.append(ours | paper)
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object).to_csv(index=False)


def _cell_fields(cell: Cell) -> dict[str, object]:
    summary = cell.summary
    return {
        **cell.label._asdict(),
        "image_size": cell.config.data.image_size,
        "role": cell.role,
        "differs": cell.differs,
        "precision": cell.precision,
        "attention_weights": " ".join(f"{weight:.6g}" for weight in cell.weights),
        "n": summary.n if summary else 0,
        "num_unfinished": cell.num_unfinished,
        "mean": _number(summary.mean if summary else None),
        "ci95": _number(summary.normal_half if summary else None),
        "ci95_t": _number(summary.t_half if summary else None),
        "values": " ".join(_number(value) for value in cell.points if value is not None),
        "run_ids": " ".join(run.run_id for run in cell.runs),
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
