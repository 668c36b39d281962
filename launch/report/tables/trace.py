"""Tables that lead from every run to its files, and from the report to what it passed over."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from launch.report.content import ReportData
from launch.report.read.collect import PassedOver, Run
from launch.report.read.comparable import POINTS
from launch.report.statistics.cells import Cell
from launch.report.tables.table import Link, Table, Value, number_columns, number_value, text_columns, text_value

COLUMNS = (
    *text_columns("Run", "Files", "State", "For"),
    *number_columns("Seed", "Best epoch", "Validation (points)", "Test (points)", "Attention weight"),
    *number_columns("Images/s", "Seconds"),
    *text_columns("Commit", "Beton"),
)
_SHORT = 10
"""Characters of a hash that are shown."""


def runs(data: ReportData) -> list[Table]:
    """All runs, then the folders that the report does not use."""
    collection = data.collection
    return [runs_table(data.cells, data.out), *passed_over_tables(collection.passed_over, collection.directory)]


def runs_table(cells: Sequence[Cell], out: Path) -> Table:
    """Every run with where it came from; links are relative to ``out``."""
    rows = [_row(cell, run, out) for cell in cells for run in cell.runs]
    note = "Test is the mean over the run's own labels as result.json records it; images/s counts training alone."
    return Table(key="runs", title="All runs", columns=COLUMNS, rows=tuple(rows), notes=(note,))


def _row(cell: Cell, run: Run, out: Path) -> tuple[Value, ...]:
    result = run.result
    validation = result.validation.mean_auroc if result else None
    test = result.test.mean_auroc if result else None
    return (
        Value((run.run_id,), sort=run.run_id, mark="head"),
        Value(("",), links=file_links(run, out)),
        text_value(run.progress),
        text_value(cell.role),
        number_value(run.config.seed, "d"),
        number_value(result.best_epoch if result else None, "d"),
        number_value(None if validation is None else POINTS * validation, ".2f"),
        number_value(None if test is None else POINTS * test, ".2f"),
        number_value(result.attention_weight if result else None, ".4g"),
        number_value(result.images_per_s if result else None, ",.1f"),
        number_value(result.seconds if result else None, ",.0f"),
        text_value(run.commit or "-"),
        text_value(run.content_hash[:_SHORT] or "-"),
    )


def file_links(run: Run, out: Path) -> tuple[Link, ...]:
    """Links to those of the run's files that are there."""
    folder = run.folder
    files = {
        "config": folder.config_file,
        "curves": folder.metrics_file,
        "predictions": folder.predictions_file,
        "result": folder.result_file,
        "provenance": folder.provenance_file,
        "log": folder.log_file,
    }
    return tuple(Link(text, relative_href(path, out)) for text, path in files.items() if path.exists())


def relative_href(path: Path, out: Path) -> str:
    """``path`` as a URL relative to the folder ``out``, special characters quoted."""
    relative = os.path.relpath(path.resolve(), out.resolve())
    return quote(Path(relative).as_posix())


def passed_over_tables(items: Sequence[PassedOver], directory: Path) -> list[Table]:
    """Folders that the report does not use, or not wholly, in one table; none when there are none."""
    if not items:
        return []
    columns = text_columns("Folder", "What", "Why")
    rows = tuple(
        (text_value(os.path.relpath(item.path, directory)), text_value(item.kind), text_value(item.reason))
        for item in items
    )
    return [Table(key="passed-over", title="Folders passed over or used in part", columns=columns, rows=rows)]
