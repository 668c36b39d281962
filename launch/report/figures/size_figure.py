"""Test AUROC against the number of training images."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from launch.report.content import Picture, ReportData
from launch.report.figures.drawing import Style, label_axes, panels, picture, series_styles
from launch.report.read.names import word
from launch.report.statistics.cells import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CAPTION = "Mean over the finished repetitions; bars are ± 1.96 s / sqrt(n), absent for one repetition."


def size_figure(data: ReportData) -> list[Picture]:
    """A panel for each dataset, initial weights and network; none when every dataset has one size alone."""
    found: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    students = [cell for cell in data.cells if cell.role == "student"]
    for cell in students:
        if cell.summary is not None and train_images(cell) is not None:
            found[cell.label.dataset, cell.label.init, cell.label.network].append(cell)
    found = {key: members for key, members in found.items() if len({cell.label.subset for cell in members}) > 1}
    figure = _draw(found) if found else None
    return picture(figure, data.out / "auroc_by_size.png", "Test AUROC against training images", _CAPTION, students)


def _draw(found: dict[tuple[str, str, str], list[Cell]]) -> Figure:
    styles = series_styles([cell.method_text for members in found.values() for cell in members])
    columns = min(2, len(found))
    legend = [style.sample(text) for text, style in styles.items()]
    figure, axes = panels(math.ceil(len(found) / columns), columns, legend)
    flat = [panel for row in axes for panel in row]
    for panel, ((dataset, init, network), members) in zip(flat, sorted(found.items()), strict=False):
        _panel(panel, members, styles)
        label_axes(
            panel,
            title=f"{word(network)} on {word(dataset)}\n{word(init)} initial weights",
            x="Training images (log scale)",
            y="Test AUROC (points) ± 95 % CI",
        )
    for panel in flat[len(found) :]:
        panel.set_axis_off()
    return figure


def train_images(cell: Cell) -> int | None:
    """Number of training images that the finished repetitions recorded."""
    return next((run.result.train_images for run in cell.finished if run.result), None)


def _panel(axes: Axes, cells: Sequence[Cell], styles: dict[str, Style]) -> None:
    series: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        series[cell.method_text].append(cell)
    for text, members in series.items():
        points = sorted(
            (train_images(cell) or 0, cell.summary.mean, cell.summary.normal_half or 0.0)
            for cell in members
            if cell.summary is not None
        )
        style = styles[text]
        axes.errorbar(
            [size for size, _, _ in points],
            [mean for _, mean, _ in points],
            yerr=[half for _, _, half in points],
            color=style.colour,
            marker=style.marker,
            linewidth=1.5,
            markersize=5,
            capsize=3,
        )
    axes.set_xscale("log")
    sizes = sorted({train_images(cell) or 0 for cell in cells})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
