"""Tables of any grid: overview, comparison of methods, prerequisites, AUROC by label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from launch.report.content import ReportData
from launch.report.read.names import word
from launch.report.statistics.cells import Cell
from launch.report.tables.paper_tables import matching_cells, paper_tables
from launch.report.tables.table import (
    Column,
    Table,
    Value,
    interval_text,
    number_columns,
    number_value,
    phantom_notes,
    run_links,
    score_value,
    signed,
    text_columns,
    text_value,
)

INTERVAL_NOTE = (
    "Points are 100 x mean test AUROC. ± is 1.96 s / sqrt(n) over the repetitions, s with n - 1 degrees of freedom; "
    "t ± is Student's 95 % interval. A single repetition (n=1) has no interval."
)

COMPARISON_NOTE = (
    "Points are 100 x mean test AUROC; ± is 1.96 s / sqrt(n) over n repetitions; 'vs TL' is the mean minus that of "
    "transfer learning with the same network."
)


def result_tables(data: ReportData) -> list[Table]:
    """The tables that answer the question: the paper's, comparisons of what is not in the paper, prerequisites."""
    in_paper = {cell.config.hash for cell in matching_cells(data.cells)[0].values()}
    others = [cell for cell in data.cells if cell.config.hash not in in_paper]
    tables = [*paper_tables(data.cells), *comparison_tables(others), *prerequisite_tables(data.cells)]
    return tables or overview(data)


def overview(data: ReportData) -> list[Table]:
    """The table of all cells."""
    return [overview_table(data.cells)]


def labels(data: ReportData) -> list[Table]:
    """AUROC by label of all cells."""
    return label_tables(data.cells)


def overview_table(cells: Sequence[Cell]) -> Table:
    """One row for each cell, with the value of every repetition."""
    differing = any(cell.differs for cell in cells)
    names = ["Dataset", "Training images", "Initial weights", "Method", "Teacher", "Network", "Layers"]
    names += ["Differs in"] if differing else []
    numbers = number_columns("Attention weight", "n", "Mean ± CI (points)", "t ±")
    return Table(
        key="overview",
        title="All cells",
        columns=(*text_columns(*names), *numbers, *text_columns("Each repetition")),
        rows=tuple(_overview_row(cell, differing) for cell in cells),
        notes=(INTERVAL_NOTE, *phantom_notes(cells)),
    )


def _overview_row(cell: Cell, differing: bool) -> tuple[Value, ...]:
    label = cell.label
    names = (word(label.dataset), label.subset, word(label.init), word(label.method), label.teacher_text)
    row = [text_value(name) for name in (*names, word(label.network), word(label.scope))]
    row += [text_value(cell.differs)] if differing else []
    weights = ", ".join(f"{weight:.4g}" for weight in cell.weights)
    row.append(Value((weights or "-",), sort=cell.weights[0] if cell.weights else None))
    done = len(cell.finished)
    row.append(Value((f"{done} (+{cell.num_unfinished})" if cell.num_unfinished else f"{done}",), sort=float(done)))
    row.append(score_value(cell, with_n=False))
    row.append(number_value(cell.summary.t_half if cell.summary else None, ".2f"))
    values = ", ".join("..." if value is None else f"{value:.2f}" for value in cell.points)
    row.append(Value((values,), links=run_links(cell)))
    return tuple(row)


def comparison_tables(cells: Sequence[Cell]) -> list[Table]:
    """One for each dataset, size and initial weights: methods down, networks across, and what a teacher adds."""
    groups: dict[tuple[str, str, str, int], list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.role == "student":
            groups[(*cell.label.group, cell.config.data.image_size)].append(cell)
    return [_comparison(members, size) for (*_, size), members in groups.items()]


def _comparison(cells: list[Cell], image_size: int) -> Table:
    networks = list(dict.fromkeys(cell.label.network for cell in cells))
    by_method: dict[str, dict[str, Cell]] = defaultdict(dict)
    for cell in cells:
        by_method[cell.method_text][cell.label.network] = cell
    rows = [
        (
            Value((method,), sort=method, mark="head"),
            *(_compared(found.get(network), cells) for network in networks),
        )
        for method, found in by_method.items()
    ]
    first = cells[0].label
    return Table(
        key=f"compare-{'-'.join(first.group)}-{image_size}",
        title=f"Transfer learning and attention transfer: {first.group_text}, {image_size} px",
        columns=(*text_columns("Method"), *number_columns(*map(word, networks))),
        rows=tuple(rows),
        notes=(COMPARISON_NOTE, *phantom_notes(cells)),
    )


def _compared(cell: Cell | None, cells: list[Cell]) -> Value:
    value = score_value(cell)
    difference = _difference(cell, cells)
    return value if difference is None else replace(value, lines=(*value.lines, f"vs TL {signed(difference)}"))


def _difference(cell: Cell | None, cells: list[Cell]) -> float | None:
    """Attention transfer minus transfer learning of the same network; None unless there is exactly one to compare."""
    if cell is None or cell.summary is None or cell.label.method == "transfer_learning":
        return None
    base = [
        other.summary
        for other in cells
        if other.label.method == "transfer_learning"
        and (other.label.network, other.label.scope) == (cell.label.network, cell.label.scope)
    ]
    return cell.summary.mean - base[0].mean if len(base) == 1 and base[0] is not None else None


def prerequisite_tables(cells: Sequence[Cell]) -> list[Table]:
    """Own test scores of the runs that gave initial weights or were teachers, in one table; none without such."""
    found = [cell for cell in cells if cell.role == "prerequisite"]
    if not found:
        return []
    names = ("Trained on", "Training images", "Initial weights", "Method", "Network")
    rows = []
    for cell in found:
        label = cell.label
        words = (word(label.dataset), label.subset, word(label.init), cell.method_text, word(label.network))
        rows.append((*map(text_value, words), score_value(cell)))
    columns = (*text_columns(*names), *number_columns("Own test AUROC (points)"))
    title = "Prerequisites: initial weights and teachers"
    notes = phantom_notes(found)
    return [Table(key="prerequisites", title=title, columns=columns, rows=tuple(rows), notes=notes)]


def label_tables(cells: Sequence[Cell]) -> list[Table]:
    """AUROC by label, one table for each dataset, size and initial weights, one column for each finished cell."""
    groups: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.finished and cell.role != "search":
            groups[cell.label.group].append(cell)
    return [_label_table(members) for members in groups.values()]


def _label_table(cells: list[Cell]) -> Table:
    names = dict.fromkeys(
        label for cell in cells for run in cell.finished if run.result for label in run.result.test.auroc
    )
    columns = (*text_columns("Label"), *(Column((word(cell.label.network), cell.method_text)) for cell in cells))
    rows = [
        (Value((label,), sort=label, mark="head"), *(_label_value(cell, label) for cell in cells)) for label in names
    ]
    means = [Value(("Mean",), sort="~", mark="head")]
    means += [
        Value((interval_text(cell.summary),), sort=cell.summary.mean) if cell.summary else Value(("-",))
        for cell in cells
    ]
    first = cells[0].label
    return Table(
        key=f"labels-{'-'.join(first.group)}",
        title=f"AUROC by label: {first.group_text}",
        columns=columns,
        rows=(*rows, tuple(means)),
        notes=("Mean over the repetitions in points; a label with one class in the test split has no AUROC.",),
    )


def _label_value(cell: Cell, label: str) -> Value:
    summary = cell.label_mean(label)
    if summary is None:
        return Value(("one class",), mark="missing")
    text = f"{summary.mean:.2f}" if summary.n == len(cell.finished) else f"{summary.mean:.2f} (n={summary.n})"
    return Value((text,), sort=summary.mean)
