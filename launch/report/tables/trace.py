"""Tables that lead from every run to its files, and from the report to what it passed over."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from launch.report.content import ReportData
from launch.report.read.collect import Run
from launch.report.statistics.cells import POINTS, Cell
from launch.report.tables.table import Link, Table, Value, head, number_columns, number_value, row, text_columns

RUN_COLUMNS = (
    *text_columns("Run", "Files", "State", "For"),
    *number_columns("Seed", "Best epoch", "Validation (points)", "Test (points)", "Attention weight"),
    *number_columns("Images/s", "Seconds"),
    *text_columns("Commit", "Beton"),
)
NOTE = "Test is the mean over the run's own labels as result.json records it; images/s counts training alone."


def runs(data: ReportData) -> list[Table]:
    """All runs with where they came from, then the folders that the report does not use, or not wholly."""
    found = tuple(_run_row(cell, run, data.out) for cell in data.cells for run in cell.runs)
    tables = [Table(key="runs", title="All runs", columns=RUN_COLUMNS, rows=found, notes=(NOTE,))]
    if data.collection.passed_over:
        start, columns = data.collection.directory, text_columns("Folder", "What", "Why")
        left_out = tuple(
            row(os.path.relpath(item.path, start), item.kind, item.reason) for item in data.collection.passed_over
        )
        title = "Folders passed over or used in part"
        tables.append(Table(key="passed-over", title=title, columns=columns, rows=left_out))
    return tables


def _run_row(cell: Cell, run: Run, out: Path) -> tuple[Value, ...]:
    result = run.result
    validation = result.validation.mean_auroc if result else None
    test = result.test.mean_auroc if result else None
    return row(
        head(run.run_id),
        Value(("",), links=_file_links(run, out)),
        *(run.progress, cell.role),
        number_value(run.config.seed, "d"),
        number_value(result.best_epoch if result else None, "d"),
        number_value(None if validation is None else POINTS * validation, ".2f"),
        number_value(None if test is None else POINTS * test, ".2f"),
        number_value(result.attention_weight if result else None, ".4g"),
        number_value(result.images_per_s if result else None, ",.1f"),
        number_value(result.seconds if result else None, ",.0f"),
        *(run.commit or "-", run.content_hash[:10] or "-"),
    )


def _file_links(run: Run, out: Path) -> tuple[Link, ...]:
    """Links, relative to ``out``, to those of the run's files that are there."""
    folder = run.folder
    files = {
        "config": folder.config_file,
        "curves": folder.metrics_file,
        "predictions": folder.predictions_file,
        "result": folder.result_file,
        "provenance": folder.provenance_file,
        "log": folder.log_file,
    }
    start = out.resolve()
    return tuple(
        Link(text, quote(Path(os.path.relpath(path.resolve(), start)).as_posix()))
        for text, path in files.items()
        if path.exists()
    )
