"""Tables of any grid: all cells, comparison of methods, prerequisites, AUROC by label, all runs with their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from launch.report.content import ReportData
from launch.report.read.collect import Run
from launch.report.read.names import word
from launch.report.statistics.cells import Cell, grouped
from launch.report.tables.paper_tables import matching_cells, paper_tables
from launch.report.tables.table import (
    Column,
    Link,
    Table,
    Value,
    cell_notes,
    head,
    interval_text,
    number_columns,
    number_value,
    points_value,
    row,
    run_links,
    score_value,
    signed,
    text_columns,
)

INTERVAL_NOTE = (
    "Points are 100 x mean test AUROC. ± is 1.96 s / sqrt(n) over the repetitions, s with n - 1 degrees of freedom; "
    "t ± is Student's 95 % interval. A single repetition (n=1) has no interval."
)
COMPARISON_NOTE = (
    "Points are 100 x mean test AUROC; ± is 1.96 s / sqrt(n) over n repetitions; 'vs TL' is the mean minus that of "
    "transfer learning with the same network."
)
LABEL_NOTE = "Mean over the repetitions in points; a label with one class in the test split has no AUROC."

RUN_COLUMNS = (
    *text_columns("Run", "Files", "State", "For"),
    *number_columns("Seed", "Best epoch", "Validation (points)", "Test (points)", "Attention weight"),
    *number_columns("Images/s", "Seconds"),
    *text_columns("Commit", "Beton"),
)
RUN_NOTE = "Test is the mean over the run's own labels as result.json records it; images/s counts training alone."


def results(data: ReportData) -> list[Table]:
    """The tables that answer the question: the paper's, comparisons of what is not in the paper, prerequisites."""
    return [*paper_tables(data), *comparisons(data), *prerequisites(data)] or overview(data)


def overview(data: ReportData) -> list[Table]:
    """One row for each cell, with the value of every repetition."""
    differing = any(cell.differs for cell in data.cells)
    names = ["Dataset", "Training images", "Initial weights", "Method", "Teacher", "Network", "Layers"]
    columns = (
        *text_columns(*names, *(["Differs in"] if differing else [])),
        *number_columns("Attention weight", "n", "Mean ± CI (points)", "t ±"),
        *text_columns("Each repetition", "Arithmetic"),
    )
    rows = tuple(_overview_row(cell, differing) for cell in data.cells)
    notes = (INTERVAL_NOTE, *cell_notes(data.cells))
    return [Table(key="overview", title="All cells", columns=columns, rows=rows, notes=notes)]


def _overview_row(cell: Cell, differing: bool) -> tuple[Value, ...]:
    label, done = cell.label, len(cell.finished)
    weights = ", ".join(f"{weight:.4g}" for weight in cell.weights)
    values = ", ".join("..." if value is None else f"{value:.2f}" for value in cell.points)
    return row(
        *(*map(word, label.group), word(label.method), label.teacher_text, word(label.network), word(label.scope)),
        *([cell.differs] if differing else []),
        Value((weights or "-",), sort=cell.weights[0] if cell.weights else None),
        Value((f"{done} (+{cell.num_unfinished})" if cell.num_unfinished else f"{done}",), sort=float(done)),
        score_value(cell, with_n=False),
        number_value(cell.summary.t_half if cell.summary else None, ".2f"),
        Value((values,), links=run_links(cell)),
        cell.precision or "-",
    )


def comparisons(data: ReportData) -> list[Table]:
    """What is not in the paper's tables: one table for each dataset, size and initial weights."""
    in_paper = {cell.config.hash for cell in matching_cells(data.cells)[0].values()}
    students = [cell for cell in data.cells if cell.role == "student" and cell.config.hash not in in_paper]
    groups = grouped(students, lambda cell: (*cell.label.group, cell.config.data.image_size))
    return [_comparison(members, size) for (*_, size), members in groups.items()]


def _comparison(cells: Sequence[Cell], image_size: int) -> Table:
    """Methods down, networks across, and what a teacher adds."""
    networks = list(dict.fromkeys(cell.label.network for cell in cells))
    rows = []
    for method, members in grouped(cells, lambda cell: cell.method_text).items():
        found = {cell.label.network: cell for cell in members}
        rows.append(row(head(method), *(_compared(found.get(network), cells) for network in networks)))
    first = cells[0].label
    return Table(
        key=f"compare-{'-'.join(first.group)}-{image_size}",
        title=f"Transfer learning and attention transfer: {first.group_text}, {image_size} px",
        columns=(*text_columns("Method"), *number_columns(*map(word, networks))),
        rows=tuple(rows),
        notes=(COMPARISON_NOTE, *cell_notes(cells)),
    )


def _compared(cell: Cell | None, cells: Sequence[Cell]) -> Value:
    """Score, and the difference to transfer learning of the same network where there is exactly one to compare."""
    value = score_value(cell)
    if cell is None or cell.summary is None or cell.label.method == "transfer_learning":
        return value
    wanted = cell.label._replace(method="transfer_learning", teacher="none")
    base = [other.summary for other in cells if other.label == wanted]
    if len(base) != 1 or base[0] is None:
        return value
    return replace(value, lines=(*value.lines, f"vs TL {signed(cell.summary.mean - base[0].mean)}"))


def prerequisites(data: ReportData) -> list[Table]:
    """Own test scores of the runs that gave initial weights or were teachers, in one table; none without such."""
    found = [cell for cell in data.cells if cell.role == "prerequisite"]
    rows = []
    for cell in found:
        words = (*map(word, cell.label.group), cell.method_text, word(cell.label.network))
        rows.append(row(*words, score_value(cell)))
    names = ("Trained on", "Training images", "Initial weights", "Method", "Network")
    columns = (*text_columns(*names), *number_columns("Own test AUROC (points)"))
    title, notes = "Prerequisites: initial weights and teachers", cell_notes(found)
    return [Table(key="prerequisites", title=title, columns=columns, rows=tuple(rows), notes=notes)] if rows else []


def labels(data: ReportData) -> list[Table]:
    """AUROC by label: a table for each dataset, size and initial weights, a column for each finished cell."""
    scored = [cell for cell in data.cells if cell.finished and cell.role != "search"]
    return [_label_table(members) for members in grouped(scored, lambda cell: cell.label.group).values()]


def _label_table(cells: Sequence[Cell]) -> Table:
    runs = [run for cell in cells for run in cell.finished]
    names = dict.fromkeys(label for run in runs if run.result for label in run.result.test.auroc)
    rows = [row(head(label), *(_label_value(cell, label) for cell in cells)) for label in names]
    means = (
        Value((interval_text(cell.summary),), sort=cell.summary.mean) if cell.summary else Value(("-",))
        for cell in cells
    )
    group = cells[0].label
    return Table(
        key=f"labels-{'-'.join(group.group)}",
        title=f"AUROC by label: {group.group_text}",
        columns=(*text_columns("Label"), *(Column((word(cell.label.network), cell.method_text)) for cell in cells)),
        rows=(*rows, row(head("Mean", sort="~"), *means)),
        notes=(LABEL_NOTE,),
    )


def _label_value(cell: Cell, label: str) -> Value:
    summary = cell.label_mean(label)
    if summary is None:
        return Value(("one class",), mark="missing")
    text = f"{summary.mean:.2f}" if summary.n == len(cell.finished) else f"{summary.mean:.2f} (n={summary.n})"
    return Value((text,), sort=summary.mean)


def runs(data: ReportData) -> list[Table]:
    """All runs with where they came from, then the folders that the report does not use, or not wholly."""
    found = tuple(_run_row(cell, run, data.out) for cell in data.cells for run in cell.runs)
    tables = [Table(key="runs", title="All runs", columns=RUN_COLUMNS, rows=found, notes=(RUN_NOTE,))]
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
    return row(
        replace(head(run.run_id), links=(Link("details", f"#run-{run.run_id}"),)),
        Value(("",), links=file_links(run, out)),
        *("; ".join(filter(None, (run.progress, run.processes))), cell.role),
        number_value(run.config.seed, "d"),
        number_value(result.best_epoch + 1 if result and result.best_epoch is not None else None, "d"),
        points_value(result.validation.mean_auroc if result else None),
        points_value(result.test.mean_auroc if result else None),
        number_value(result.attention_weight if result else None, ".4g"),
        number_value(result.images_per_s if result else None, ",.1f"),
        number_value(result.seconds if result else None, ",.0f"),
        *(run.commit or "-", run.content_hash[:10] or "-"),
    )


def file_links(run: Run, out: Path) -> tuple[Link, ...]:
    """Links, relative to ``out``, to those of the run's files that are there."""
    folder, start = run.folder, out.resolve()
    files = {
        "config": folder.config_file,
        "curves": folder.metrics_file,
        "predictions": folder.predictions_file,
        "result": folder.result_file,
        "provenance": folder.provenance_file,
        "certificate": folder.certificate_file,
        "log": folder.log_file,
    }
    there = {text: os.path.relpath(path.resolve(), start) for text, path in files.items() if path.exists()}
    return tuple(Link(text, quote(path)) for text, path in there.items())
