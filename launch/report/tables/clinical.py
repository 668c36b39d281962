"""Tables of what a clinic asks for: scores with intervals over patients, groups of patients, gaps between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.scoring.bootstrap import percentile_intervals
from harness.scoring.clinical import GAP_SCORES
from harness.scoring.resampling import SCORES
from launch.report.content import Item, Note, ReportData
from launch.report.read.names import word
from launch.report.statistics.cells import Cell, grouped
from launch.report.statistics.clinical import RunScores, gap_changes
from launch.report.statistics.pairs import MEAN
from launch.report.tables.table import (
    Table,
    Value,
    cell_notes,
    number_columns,
    number_value,
    row,
    run_links,
    text_columns,
)

HEADS = (
    *("AUROC", "Average precision", "Sensitivity", "Specificity", "F1"),
    *("Brier", "ECE", "Brier, calibrated", "ECE, calibrated"),
)
"""Of ``SCORES`` but for the prevalence, which is no score."""
SCORES_NOTE = (
    "Means of the labels, from 0 to 1, averaged over the repetitions; in brackets the 95 % interval of a bootstrap "
    "over patients, each with all images. Decisions are made where Youden's index is largest on validation. ECE: "
    "expected calibration error in 15 bins of equal width. Calibrated: with a temperature for each label, fitted on "
    "validation. scores.csv has all of it by label."
)
GROUPS_NOTE = (
    "Below the score are images and positive findings of the group. Means are over the labels that every group shown "
    "has at least 20 positive and 20 negative images of. A sensitivity that differs between groups at one threshold "
    "is what is called underdiagnosis of the lower one."
)
GAPS_NOTE = (
    "The two groups that are farthest apart in the mean of transfer learning and the method; change is the method's "
    "gap minus that of transfer learning, with its 95 % interval on the same resamples. * the interval does not "
    "hold 0."
)


def scores(data: ReportData) -> list[Item]:
    """One row for each cell of students: the means of the labels."""
    rows = []
    for cell, found in _scored(data):
        ends = percentile_intervals(found.drawn[:, -1])
        values = (_value(found.point[-1, k], ends[k]) for k in range(len(HEADS)))
        links = Value((str(len(cell.finished)),), sort=len(cell.finished), links=run_links(cell))
        rows.append(row(*_words(cell), *values, links))
    notes = [Note(text, terminal=True) for text in data.clinical.notes]
    columns = (*text_columns(*_WORDS), *number_columns(*HEADS, "Runs"))
    return [*notes, *_table(data, "scores", "Scores with intervals over patients", columns, rows, SCORES_NOTE)]


def groups(data: ReportData) -> list[Item]:
    """A table for each attribute: groups as columns; then how a method changes the gaps."""
    found = [(cell, group) for cell, scored in _scored(data) for group in scored.groups]
    tables = list[Item]()
    for attribute, members in grouped(found, lambda pair: pair[1].attribute).items():
        names = list(dict.fromkeys(name for _, group in members for name in group.names))
        rows = []
        for cell, group in members:
            for column, score in enumerate(GAP_SCORES):
                if np.isnan(group.point[:, column]).all():
                    continue
                places = {name: place for place, name in enumerate(group.names)}
                values = [_group_value(group, places.get(name), column) for name in names]
                rows.append(
                    row(*_words(cell), HEADS[SCORES.index(score)], number_value(group.num_labels, "d"), *values)
                )
        title = f"By {attribute}"
        columns = (*text_columns(*_WORDS, "Score"), *number_columns("Labels", *names))
        tables += _table(data, f"groups-{attribute}", title, columns, rows, GROUPS_NOTE)
    return [*tables, *_gap_table(data)]


def _gap_table(data: ReportData) -> list[Table]:
    scored, rows = data.clinical.cells, []
    for pair in data.pairs:
        base, other = (scored.get(cell.config.hash) for cell in pair)
        for change in gap_changes(base, other) if base is not None and other is not None else ():
            clear = " *" if change.low > 0 or change.high < 0 else ""
            difference = change.other - change.base
            ends = f"[{change.low:+.3f}, {change.high:+.3f}]"
            values = (
                Value((f"{change.base:.3f}",), sort=change.base),
                Value((f"{change.other:.3f}",), sort=change.other),
                Value((f"{difference:+.3f}{clear}", ends), sort=difference),
            )
            which = f"{change.highest} over {change.lowest}"
            score = HEADS[SCORES.index(change.score)]
            rows.append(row(*_words(pair.other), change.attribute, score, which, *values))
    columns = (
        *text_columns(*_WORDS, "Attribute", "Score", "Gap"),
        *number_columns("Transfer learning", "Method", "Change"),
    )
    return _table(data, "gap-changes", "Gaps between groups beside transfer learning", columns, rows, GAPS_NOTE)


def scores_csv(data: ReportData) -> str:
    """One row for each cell, label and score."""
    rows = list[dict[str, Any]]()
    for cell, found in _scored(data):
        ends = percentile_intervals(found.drawn)
        for number, label in enumerate((*found.labels, MEAN)):
            for k, score in enumerate(SCORES):
                value = float(found.point[number, k])
                if not math.isnan(value):
                    low, high = ends[number, k]
                    head = {**cell.label._asdict(), "differs": cell.differs, "label": label, "score": score}
                    rows.append({**head, "value": value, "low": low, "high": high, "num_runs": len(cell.finished)})
    return pd.DataFrame(rows).to_csv(index=False, float_format="%.6f")


_WORDS = ("Dataset", "Training images", "Initial weights", "Method", "Network")


def _words(cell: Cell) -> tuple[str, ...]:
    return (*map(word, cell.label.group), cell.method_text, word(cell.label.network))


def _scored(data: ReportData) -> list[tuple[Cell, RunScores]]:
    found = data.clinical.cells
    return [(cell, found[cell.config.hash]) for cell in data.cells if cell.config.hash in found]


def _table(
    data: ReportData, key: str, title: str, columns: Any, rows: Sequence[tuple[Value, ...]], note: str
) -> list[Table]:
    notes = (note, *cell_notes(cell for cell, _ in _scored(data)))
    return [Table(key=key, title=title, columns=columns, rows=tuple(rows), notes=notes)] if rows else []


def _value(point: float, ends: np.ndarray) -> Value:
    if math.isnan(point):
        return Value(("-",))
    return Value((f"{point:.3f}", "[{:.3f}, {:.3f}]".format(*ends)), sort=float(point))


def _group_value(group: Any, place: int | None, column: int) -> Value:
    if place is None:
        return Value(("-",))
    counts = f"{group.counts[place]:,} images, {group.positives[place]:,} positive"
    value = _value(float(group.point[place, column]), percentile_intervals(group.drawn[:, place, column]))
    if value.sort is None:
        return Value(("too small", counts), mark="missing")
    return Value((*value.lines, counts), sort=value.sort)
