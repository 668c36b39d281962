"""Learning curves: AUROC against optimiser steps, with the range of the repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from launch.report.content import Picture, ReportData
from launch.report.figures.drawing import Style, label_axes, panel_grid, picture, series_styles
from launch.report.read.collect import Run
from launch.report.read.names import word
from launch.report.statistics.cells import POINTS, Cell
from launch.report.tables.paper_tables import figure_3_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

Split = Literal["validation", "train"]
_DASHES: dict[Split, Literal["-", "--"]] = {"validation": "-", "train": "--"}
_MAX_MARKERS = 8
_CAPTION = "Mean over the finished repetitions, up to the last step that all reached; the band is their range."


def learning_curve(cell: Cell, split: Split) -> pd.DataFrame:
    """``mean``, ``min`` and ``max`` over the finished repetitions in points, by the steps that all of them scored."""
    curves = [_points(run, split) for run in cell.finished]
    if not curves:
        return pd.DataFrame(columns=["mean", "min", "max"])
    return pd.concat(curves, axis=1, join="inner").sort_index().agg(["mean", "min", "max"], axis=1)


def _points(run: Run, split: Split) -> pd.Series[float]:
    scores = {epoch.step: epoch.train if split == "train" else epoch.validation for epoch in run.epochs}
    means = {step: score.mean_auroc for step, score in scores.items() if score is not None}
    return POINTS * pd.Series(means, dtype=float).dropna()


def figure_3(data: ReportData) -> list[Picture]:
    """The paper's Fig. 3."""
    return _curves(figure_3_cells(data.cells), data.out / "figure_3.png", "The paper's Fig. 3")


def student_curves(data: ReportData) -> list[Picture]:
    """Learning curves of the students."""
    students = [cell for cell in data.cells if cell.role == "student"]
    return _curves(students, data.out / "curves.png", "Learning curves")


def prerequisite_curves(data: ReportData) -> list[Picture]:
    """Learning curves of the runs that gave initial weights or were teachers."""
    before = [cell for cell in data.cells if cell.role == "prerequisite"]
    return _curves(before, data.out / "curves_prerequisites.png", "Learning curves of the prerequisites")


def _curves(cells: Sequence[Cell], path: Path, title: str) -> list[Picture]:
    """A row of panels for each dataset, size and initial weights, a column for each network; none without a curve."""
    drawn = [cell for cell in cells if any(len(learning_curve(cell, split)) for split in _DASHES)]
    styles = series_styles([cell.method_text for cell in drawn])
    figure = None
    if drawn:
        figure = panel_grid(
            drawn,
            lambda cell: ((*cell.label.group, cell.config.data.image_size), cell.label.network),
            lambda axes, here: _panel(axes, here, styles),
            _legend(styles),
        )
    return picture(figure, path, title, _CAPTION, cells)


def _legend(styles: dict[str, Style]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    lines = [style.sample(text) for text, style in styles.items()]
    labels = ("validation split (solid)", "training split (dashed)")
    for dashes, label in zip(_DASHES.values(), labels, strict=True):
        lines.append(Line2D([], [], color="#555555", linestyle=dashes, label=label))
    return lines


def _panel(axes: Axes, cells: Sequence[Cell], styles: dict[str, Style]) -> None:
    for cell in cells:
        style = styles[cell.method_text]
        for split, dashes in _DASHES.items():
            curve = learning_curve(cell, split)
            if curve.empty:
                continue
            every = max(1, len(curve) // _MAX_MARKERS)
            look: dict[str, Any] = {"marker": style.marker, "markersize": 4, "markevery": every, "linewidth": 1.6}
            axes.plot(curve.index, curve["mean"], dashes, color=style.colour, **look)
            axes.fill_between(curve.index, curve["min"], curve["max"], color=style.colour, alpha=0.15, linewidth=0)
    first = cells[0]
    counts = sorted({len(cell.finished) for cell in cells})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    batches = " or ".join(str(size) for size in sorted({cell.config.schedule.batch_size for cell in cells}))
    label_axes(
        axes,
        title=f"{word(first.label.network)}, n = {n}\n{first.label.group_text}",
        x=f"Optimiser steps ({batches} images each)",
        y="Mean AUROC (points, 0 to 100)",
    )
