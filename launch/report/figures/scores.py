"""Figures of scores: learning curves, AUROC against training images, differences to transfer learning by label."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from launch.report.content import Picture, ReportData
from launch.report.figures.drawing import Style, label_axes, legend_lines, panel_grid, picture, plain, series_styles
from launch.report.read.collect import Run
from launch.report.read.names import word
from launch.report.statistics.cells import POINTS, Cell, grouped
from launch.report.statistics.pairs import Compared
from launch.report.tables.paper_tables import figure_3_cells

Split = Literal["validation", "train"]
_CURVES_CAPTION = "Mean over the finished repetitions, up to the last step that all reached; the band is their range."
_SIZES_CAPTION = "Mean over the finished repetitions; bars are ± 1.96 s / sqrt(n), absent for one repetition."
_PAIRED_CAPTION = "Mean over the repetitions, with the 95 % interval of the paired bootstrap over patients."
_DASHES: dict[Split, Literal["-", "--"]] = {"validation": "-", "train": "--"}
_MAX_MARKERS = 8
_LABEL_INCHES = 0.24
_TITLE_WIDTH = 40
"""Characters in one line of the title of a panel of differences."""
_SPREAD = 0.5
"""Part of a label's row over which the methods are spread."""


def figure_3(data: ReportData) -> list[Picture]:
    """The paper's Fig. 3."""
    return _curves(data, figure_3_cells(data.cells), "figure_3", "The paper's Fig. 3")


def student_curves(data: ReportData) -> list[Picture]:
    """Learning curves of the students."""
    return _curves(data, [cell for cell in data.cells if cell.role == "student"], "curves", "Learning curves")


def prerequisite_curves(data: ReportData) -> list[Picture]:
    """Learning curves of the runs that gave initial weights or were teachers."""
    before = [cell for cell in data.cells if cell.role == "prerequisite"]
    return _curves(data, before, "curves_prerequisites", "Learning curves of the prerequisites")


def _curves(data: ReportData, cells: Sequence[Cell], name: str, title: str) -> list[Picture]:
    """A row of panels for each dataset, size and initial weights, a column for each network; none without a curve."""
    drawn = [cell for cell in cells if any(len(learning_curve(cell, split)) for split in _DASHES)]
    styles = series_styles([cell.method_text for cell in drawn])
    lines = [
        Line2D([], [], color="#555555", linestyle="-", label="validation split (solid)"),
        Line2D([], [], color="#555555", linestyle="--", label="training split (dashed)"),
    ]
    figure = panel_grid(
        drawn,
        lambda cell: ((*cell.label.group, cell.config.data.image_size), cell.label.network),
        lambda axes, here: _curves_panel(axes, here, styles),
        legend_lines(styles) + lines,
    )
    return picture(figure, data.out / f"{name}.png", title, _CURVES_CAPTION, cells)


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


def _curves_panel(axes: Axes, cells: Sequence[Cell], styles: dict[str, Style]) -> None:
    for cell in cells:
        style = styles[cell.method_text]
        for split, dashes in _DASHES.items():
            curve = learning_curve(cell, split)
            if len(curve):
                every = max(1, len(curve) // _MAX_MARKERS)
                axes.plot(
                    curve.index, curve["mean"], dashes, markersize=4, markevery=every, linewidth=1.6, **style.look
                )
                axes.fill_between(
                    curve.index, curve["min"], curve["max"], color=style.colour, alpha=0.15, linewidth=0
                )
    label = cells[0].label
    counts = sorted({len(cell.finished) for cell in cells})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    batches = " or ".join(str(size) for size in sorted({cell.config.schedule.batch_size for cell in cells}))
    label_axes(
        axes,
        title=f"{word(label.network)}, n = {n}\n{label.group_text}",
        x=f"Optimiser steps ({batches} images each)",
        y="Mean AUROC (points, 0 to 100)",
    )


def size_figure(data: ReportData) -> list[Picture]:
    """A panel for each dataset, initial weights and network; none when every dataset has one size alone."""
    students = [cell for cell in data.cells if cell.role == "student"]
    scored = [cell for cell in students if cell.summary is not None and _train_images(cell)]
    groups = grouped(scored, lambda cell: (cell.label.dataset, cell.label.init, cell.label.network))
    several = {key: cells for key, cells in groups.items() if len({cell.label.subset for cell in cells}) > 1}
    places = {key: (i // 2, str(i % 2)) for i, key in enumerate(sorted(several))}
    drawn = [cell for key in places for cell in several[key]]
    styles = series_styles([cell.method_text for cells in several.values() for cell in cells])
    figure = panel_grid(
        drawn,
        lambda cell: places[cell.label.dataset, cell.label.init, cell.label.network],
        lambda axes, here: _size_panel(axes, here, styles),
        legend_lines(styles),
    )
    title = "Test AUROC against training images"
    return picture(figure, data.out / "auroc_by_size.png", title, _SIZES_CAPTION, students)


def _train_images(cell: Cell) -> int:
    """Number of training images that the finished repetitions recorded; 0 when they did not."""
    return next((run.result.train_images or 0 for run in cell.finished if run.result), 0)


def _size_panel(axes: Axes, cells: list[Cell], styles: dict[str, Style]) -> None:
    for text, members in grouped(cells, lambda cell: cell.method_text).items():
        scored = [(_train_images(cell), cell.summary) for cell in members]
        points = sorted((size, one.mean, one.normal_half or 0.0) for size, one in scored if one is not None)
        sizes, means, halves = zip(*points, strict=True)
        axes.errorbar(sizes, means, yerr=halves, capsize=3, markersize=5, linewidth=1.5, **styles[text].look)
    axes.set_xscale("log")
    ticks = sorted({_train_images(cell) for cell in cells})
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks])
    axes.minorticks_off()
    label = cells[0].label
    title = f"{word(label.network)} on {word(label.dataset)}\n{word(label.init)} initial weights"
    label_axes(axes, title=title, x="Training images (log scale)", y="Test AUROC (points) ± 95 % CI")


def paired_figure(data: ReportData) -> list[Picture]:
    """A row of panels for each dataset, size, initial weights and labels, a column for each network and scope."""

    def place(item: Compared) -> tuple[tuple[object, ...], str]:
        label = item.cell.label
        return (*label.group, item.cell.config.data.image_size, item.names), f"{label.network} {label.scope}"

    styles = series_styles([item.cell.method_text for item in data.compared])
    most = max((len(item.names) for item in data.compared), default=0)
    figure = panel_grid(
        data.compared,
        place,
        lambda axes, here: _paired_panel(axes, here, styles),
        legend_lines(styles, ", 95 % interval"),
        panel_inches=(4.6, 1.1 + _LABEL_INCHES * most),
    )
    title, cells = "Difference to transfer learning by label", [item.cell for item in data.compared]
    return picture(figure, data.out / "paired.png", title, _PAIRED_CAPTION, cells)


def _paired_panel(axes: Axes, members: Sequence[Compared], styles: dict[str, Style]) -> None:
    names, label = members[0].names, members[0].cell.label
    for number, item in enumerate(members):
        style = styles[item.cell.method_text]
        shift = _SPREAD * ((number + 0.5) / len(members) - 0.5)
        for i, interval in enumerate(item.intervals):
            if not (math.isnan(interval.difference) or math.isnan(interval.low)):
                ends = [POINTS * interval.low, POINTS * interval.high]
                axes.plot(ends, [i + shift] * 2, color=style.colour, linewidth=1.6)
                axes.plot(POINTS * interval.difference, i + shift, style.marker, color=style.colour, markersize=5)
    axes.axvline(0.0, color="#333333", linewidth=1.0)
    axes.axhline(len(names) - 1.5, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    scope = "" if label.scope == "all" else f", {word(label.scope)}"
    title = f"{word(label.network)}{scope}, {members[0].first.num_patients:,} test patients\n"
    title += textwrap.fill(label.group_text, _TITLE_WIDTH, break_on_hyphens=False)
    label_axes(axes, title=title, x="AUROC minus that of transfer learning (points)", y="")
