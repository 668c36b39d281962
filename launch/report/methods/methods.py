"""The methods of all finished runs as paragraphs, and the reporting checklists that they fill."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from launch.report.content import Note, ReportData
from launch.report.methods.data_facts import data_facts
from launch.report.methods.run_facts import score_facts, training_facts
from launch.report.tables.table import Table, Value, head, row, text_columns, text_value

GAP = "gap"
NOTE = (
    "Paraphrased and in short; the source's own text counts. What stands under Methods was read from run files; what "
    "is for the authors no run file tells. A gap could be filled by run files, but those at hand do not."
)


def paragraphs(data: ReportData) -> dict[str, str]:
    """What run files tell by title, each as text for a paper; none without a finished run."""
    runs = [run for cell in data.cells for run in cell.finished]
    return {**data_facts(data, runs), **training_facts(runs), **score_facts(data, runs)} if runs else {}


def methods(data: ReportData) -> list[Note]:
    """The paragraphs that are filled."""
    return [Note(f"{title}. {text}") for title, text in paragraphs(data).items() if text]


def checklists(data: ReportData) -> list[Table]:
    """TRIPOD+AI and CLAIM, each item with where it is filled, as a gap, or left to the authors."""
    found = paragraphs(data)
    return [_table(key, checklist, found) for key, checklist in _checklists().items()] if found else []


@cache
def _checklists() -> dict[str, Any]:
    return tomllib.loads((files("launch.report.methods") / "checklists.toml").read_text(encoding="utf-8"))


def _table(key: str, checklist: dict[str, Any], found: dict[str, str]) -> Table:
    rows = [_row(item, found) for item in checklist["items"]]
    return Table(
        key=key,
        title=checklist["title"],
        columns=text_columns("Item", "Asks for", "From run files", "For the authors"),
        rows=tuple(rows),
        notes=(f"Source: {checklist['source']}. {NOTE}",),
    )


def _row(item: list[Any], found: dict[str, str]) -> tuple[Value, ...]:
    number, asks, facts, authors = item
    filled, lacking = ([title for title in facts if bool(found[title]) is wanted] for wanted in (True, False))
    words = [f"Methods: {', '.join(filled)}"] if filled else []
    words += [f"{GAP}: {', '.join(lacking)}"] if lacking else []
    place = Value(tuple(words), sort=words[0], mark="doubtful" if lacking else "") if words else Value(("-",))
    return row(head(number), text_value(asks), place, authors or "-")
