"""Charts of scores: learning curves, AUROC against training images, differences to transfer learning by label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill
from typing import Literal

import numpy as np
import pandas as pd

from launch.report.content import Chart, Panel, ReportData, Series
from launch.report.figures.charts import chart, placed
from launch.report.read.collect import Run
from launch.report.read.names import word
from launch.report.statistics.cells import POINTS, Cell, grouped
from launch.report.statistics.pairs import Compared
from launch.report.tables.paper_tables import figure_3_cells

Split = Literal["validation", "train"]
SPLITS: dict[Split, tuple[str, Literal["solid", "dashed"]]] = {
    "validation": ("validation split (solid)", "solid"),
    "train": ("training split (dashed)", "dashed"),
}
_CURVES_CAPTION = "Mean over the finished repetitions, up to the last step that all reached; the band is their range."
_SIZES_CAPTION = "Mean over the finished repetitions; bars are ± 1.96 s / sqrt(n), absent for one repetition."
_PAIRED_CAPTION = "Mean over the repetitions, with the 95 % interval of the paired bootstrap over patients."
_TITLE_WIDTH = 40
"""Characters in one line of the title of a panel of differences."""
_SPREAD = 0.5
"""Part of a label's row over which the methods are spread."""


def figure_3(data: ReportData) -> list[Chart]:
    """The paper's Fig. 3."""
    return _curves(data, figure_3_cells(data.cells), "figure_3", "The paper's Fig. 3")


def student_curves(data: ReportData) -> list[Chart]:
    """Learning curves of the students."""
    return _curves(data, [cell for cell in data.cells if cell.role == "student"], "curves", "Learning curves")


def prerequisite_curves(data: ReportData) -> list[Chart]:
    """Learning curves of the runs that gave initial weights or were teachers."""
    before = [cell for cell in data.cells if cell.role == "prerequisite"]
    return _curves(data, before, "curves_prerequisites", "Learning curves of the prerequisites")


def _curves(data: ReportData, cells: Sequence[Cell], name: str, title: str) -> list[Chart]:
    """A row of panels for each dataset, size and initial weights, a column for each network; none without a curve."""
    drawn = [cell for cell in cells if any(len(learning_curve(cell, split)) for split in SPLITS)]
    panels = placed(
        drawn, lambda cell: ((*cell.label.group, cell.config.data.image_size), cell.label.network), _curves_panel
    )
    return chart(data, name, title, _CURVES_CAPTION, panels, cells)


def learning_curve(cell: Cell, split: Split) -> pd.DataFrame:
    """``mean``, ``min`` and ``max`` over the finished repetitions in points, by the steps that all of them scored."""
    curves = [_points(run, split) for run in cell.finished]
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    if not steps:
        return pd.DataFrame(columns=["mean", "min", "max"])
    values = np.array([[curve[step] for curve in curves] for step in steps])
    ends = {"mean": values.mean(axis=1), "min": values.min(axis=1), "max": values.max(axis=1)}
    return pd.DataFrame(ends, index=steps)


def _points(run: Run, split: Split) -> dict[int, float]:
    scores = {epoch.step: epoch.train if split == "train" else epoch.validation for epoch in run.epochs}
    means = {step: score.mean_auroc for step, score in scores.items() if score is not None}
    return {step: POINTS * mean for step, mean in means.items() if mean is not None}


def _curves_panel(cells: Sequence[Cell]) -> Panel:
    label = cells[0].label
    counts = sorted({len(cell.finished) for cell in cells})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    batches = " or ".join(str(size) for size in sorted({cell.config.schedule.batch_size for cell in cells}))
    return Panel(
        title=f"{word(label.network)}, n = {n}\n{label.group_text}",
        x_text=f"Optimiser steps ({batches} images each)",
        y_text="Mean AUROC (points, 0 to 100)",
        series=tuple(series for cell in cells for split in SPLITS for series in _curve(cell, split)),
    )


def _curve(cell: Cell, split: Split) -> list[Series]:
    curve = learning_curve(cell, split)
    if curve.empty:
        return []
    part, line = SPLITS[split]
    mean, low, high = (tuple(curve[name].tolist()) for name in ("mean", "min", "max"))
    where = tuple(curve.index.tolist())
    return [Series(name=cell.method_text, part=part, line=line, x=where, y=mean, low=low, high=high, band=True)]


def size_figure(data: ReportData) -> list[Chart]:
    """A panel for each dataset, initial weights and network; none when every dataset has one size alone."""
    students = [cell for cell in data.cells if cell.role == "student"]
    scored = [cell for cell in students if cell.summary is not None and _train_images(cell)]
    groups = grouped(scored, lambda cell: (cell.label.dataset, cell.label.init, cell.label.network))
    several = {key: cells for key, cells in groups.items() if len({cell.label.subset for cell in cells}) > 1}
    places = {key: (i // 2, str(i % 2)) for i, key in enumerate(sorted(several))}
    panels = placed(
        [cell for key in places for cell in several[key]],
        lambda cell: places[cell.label.dataset, cell.label.init, cell.label.network],
        _size_panel,
    )
    return chart(data, "auroc_by_size", "Test AUROC against training images", _SIZES_CAPTION, panels, students)


def _train_images(cell: Cell) -> int:
    """Number of training images that the finished repetitions recorded; 0 when they did not."""
    return next((run.result.train_images or 0 for run in cell.finished if run.result), 0)


def _size_panel(cells: Sequence[Cell]) -> Panel:
    found = []
    for name, members in grouped(cells, lambda cell: cell.method_text).items():
        scored = [(_train_images(cell), cell.summary) for cell in members]
        points = sorted((size, one.mean, one.normal_half or math.nan) for size, one in scored if one is not None)
        sizes, means, _ = zip(*points, strict=True)
        low, high = (tuple(mean + sign * half for _, mean, half in points) for sign in (-1, 1))
        found.append(Series(name=name, x=sizes, y=means, low=low, high=high))
    label = cells[0].label
    return Panel(
        title=f"{word(label.network)} on {word(label.dataset)}\n{word(label.init)} initial weights",
        x_text="Training images (log scale)",
        y_text="Test AUROC (points) ± 95 % CI",
        series=tuple(found),
        log_x=True,
    )


def paired_figure(data: ReportData) -> list[Chart]:
    """A row of panels for each dataset, size, initial weights and labels, a column for each network and scope."""

    def place(item: Compared) -> tuple[tuple[object, ...], str]:
        label = item.cell.label
        return (*label.group, item.cell.config.data.image_size, item.names), f"{label.network} {label.scope}"

    cells = [item.cell for item in data.compared]
    panels = placed(data.compared, place, _paired_panel)
    return chart(data, "paired", "Difference to transfer learning by label", _PAIRED_CAPTION, panels, cells)


def _paired_panel(members: Sequence[Compared]) -> Panel:
    label = members[0].cell.label
    scope = "" if label.scope == "all" else f", {word(label.scope)}"
    title = f"{word(label.network)}{scope}, {members[0].first.num_patients:,} test patients\n"
    shifts = [_SPREAD * ((number + 0.5) / len(members) - 0.5) for number in range(len(members))]
    return Panel(
        title=title + fill(label.group_text, _TITLE_WIDTH, break_on_hyphens=False),
        x_text="AUROC minus that of transfer learning (points)",
        y_text="",
        series=tuple(map(_differences, members, shifts)),
        categories=members[0].names,
        reference=0.0,
    )


def _differences(item: Compared, shift: float) -> Series:
    return Series(
        name=item.cell.method_text,
        x=tuple(i + shift for i in range(len(item.intervals))),
        y=tuple(POINTS * interval.difference for interval in item.intervals),
        low=tuple(POINTS * interval.low for interval in item.intervals),
        high=tuple(POINTS * interval.high for interval in item.intervals),
        line="none",
    )
