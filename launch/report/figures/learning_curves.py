"""Learning curves: AUROC against optimiser steps, with the range of the repetitions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from launch.report.content import Picture, ReportData
from launch.report.figures.drawing import Style, label_axes, panel_grid, picture, series_styles
from launch.report.read.comparable import POINTS
from launch.report.read.documents import EpochScores
from launch.report.read.names import word
from launch.report.statistics.cells import Cell
from launch.report.tables.paper_tables import figure_3_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

Split = Literal["validation", "train"]
_DASHES: dict[Split, Literal["-", "--"]] = {"validation": "-", "train": "--"}
_MAX_MARKERS = 8
_CAPTION = "Mean over the finished repetitions, up to the last step that all reached; the band is their range."


@dataclass(frozen=True)
class Curve:
    """Points of all repetitions at the steps that every one of them scored."""

    steps: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def learning_curve(cell: Cell, split: Split) -> Curve | None:
    """Mean and min-max band over the finished repetitions; None when no step has a score in all of them."""
    series = [_points(run.epochs, split) for run in cell.finished]
    common = sorted(set.intersection(*map(set, series))) if series else []
    if not common:
        return None
    columns = [[points[step] for points in series] for step in common]
    return Curve(
        steps=tuple(common),
        mean=tuple(math.fsum(column) / len(column) for column in columns),
        low=tuple(map(min, columns)),
        high=tuple(map(max, columns)),
    )


def _points(epochs: Iterable[EpochScores], split: Split) -> dict[int, float]:
    found = {}
    for epoch in epochs:
        score = epoch.train if split == "train" else epoch.validation
        if score is not None and score.mean_auroc is not None:
            found[epoch.step] = POINTS * score.mean_auroc
    return found


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
    drawn = [cell for cell in cells if any(learning_curve(cell, split) for split in _DASHES)]
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
    lines += [
        Line2D([], [], color="#555555", linestyle=_DASHES["validation"], label="validation split (solid)"),
        Line2D([], [], color="#555555", linestyle=_DASHES["train"], label="training split (dashed)"),
    ]
    return lines


def _panel(axes: Axes, cells: Sequence[Cell], styles: dict[str, Style]) -> None:
    for cell in cells:
        style = styles[cell.method_text]
        for split, dashes in _DASHES.items():
            curve = learning_curve(cell, split)
            if curve is None:
                continue
            every = max(1, len(curve.steps) // _MAX_MARKERS)
            axes.plot(
                curve.steps,
                curve.mean,
                dashes,
                color=style.colour,
                marker=style.marker,
                markersize=4,
                markevery=every,
                linewidth=1.6,
            )
            axes.fill_between(curve.steps, curve.low, curve.high, color=style.colour, alpha=0.15, linewidth=0)
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
