"""The shape of a table between those who fill it and those who write it as Markdown, LaTeX and HTML."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from launch.report.read.names import word
from launch.report.statistics.cells import POINTS, Cell, Summary


@dataclass(frozen=True)
class Link:
    """A word that leads to a path relative to the report's folder, or to ``#run-...`` within the page."""

    text: str
    href: str


@dataclass(frozen=True)
class Value:
    """What stands at one place of a table."""

    lines: tuple[str, ...]
    """The value and, below it, what belongs to it."""
    sort: float | str | None = None
    """What the column is sorted by; None sorts last."""
    links: tuple[Link, ...] = ()
    mark: Literal["", "missing", "doubtful", "head"] = ""

    @property
    def text(self) -> str:
        return " / ".join(self.lines)


@dataclass(frozen=True)
class Column:
    """Head of a column; numbers are set to the right."""

    lines: tuple[str, ...]
    numeric: bool = True

    @property
    def text(self) -> str:
        return ", ".join(self.lines)


def text_columns(*heads: str) -> tuple[Column, ...]:
    """Columns of words, each with a head of one line."""
    return tuple(Column((head,), numeric=False) for head in heads)


def number_columns(*heads: str) -> tuple[Column, ...]:
    """Columns of numbers, each with a head of one line."""
    return tuple(Column((head,)) for head in heads)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns, rows of as many values, and what a reader must know."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), f"ragged rows in table {self.key}"


def text_value(text: str) -> Value:
    """A word or phrase, sorted as text."""
    return Value((text,), sort=text)


def number_value(number: float | None, form: str) -> Value:
    """A number in the given format, a dash for None."""
    return Value(("-",)) if number is None else Value((format(number, form),), sort=number)


def points_value(auroc: float | None) -> Value:
    """An AUROC of 0..1 in points, a dash for None and NaN."""
    return number_value(None if auroc is None or math.isnan(auroc) else POINTS * auroc, ".2f")


def row(*values: Value | str) -> tuple[Value, ...]:
    """A row; words become values that are sorted as text."""
    return tuple(text_value(value) if isinstance(value, str) else value for value in values)


def head(text: str, sort: str | None = None) -> Value:
    """The head of a row, sorted by its text unless ``sort`` says otherwise."""
    return Value((text,), sort=text if sort is None else sort, mark="head")


def interval_text(summary: Summary, *, with_n: bool = True) -> str:
    """``72.90 ± 0.10 (n=3)`` in points; a single repetition has no interval and always says so."""
    if summary.normal_half is None:
        return f"{summary.mean:.2f} (n=1)"
    text = f"{summary.mean:.2f} ± {summary.normal_half:.2f}"
    return f"{text} (n={summary.n})" if with_n else text


def cell_notes(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Warnings of what the scores rest on: images that are made up, runs that computed in several arithmetics."""
    found = tuple(cells)
    notes = []
    names = ", ".join(sorted({word(cell.label.dataset) for cell in found if cell.phantom}))
    if names:
        notes.append(f"PHANTOM DATA: the images ({names}) are made up; these are not scores on radiographs.")
    counts = Counter(run.precision for cell in found for run in cell.finished if run.precision)
    if len(counts) > 1:
        runs = ", ".join(f"{precision} ({count})" for precision, count in sorted(counts.items()))
        notes.append(f"MIXED ARITHMETIC: the runs computed in {runs}; it alone moves scores, so compare with care.")
    return tuple(notes)


def signed(value: float) -> str:
    """A difference in points with its sign, to two digits; what rounds to nothing is +0.00."""
    return f"{round(value, 2) + 0.0:+.2f}"


def run_links(cell: Cell) -> tuple[Link, ...]:
    """One link for each repetition, to its row in the table of runs."""
    return tuple(Link(f"s{run.config.seed}", f"#run-{run.run_id}") for run in cell.runs)


def score_value(cell: Cell | None, *, with_n: bool = True) -> Value:
    """Mean and interval of a cell; missing, with the count of runs on their way, while none is done."""
    links = run_links(cell) if cell is not None else ()
    if cell is None or cell.summary is None:
        waiting = f" ({cell.num_unfinished} not finished)" if cell is not None and cell.num_unfinished else ""
        return Value((f"missing{waiting}",), links=links, mark="missing")
    return Value((interval_text(cell.summary, with_n=with_n),), sort=cell.summary.mean, links=links)
