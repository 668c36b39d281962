"""Test AUROC against the number of training images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launch.report.content import Picture, ReportData
from launch.report.figures.drawing import Style, label_axes, panels, picture, series_styles
from launch.report.grouping import grouped
from launch.report.read.names import word
from launch.report.statistics.cells import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CAPTION = "Mean over the finished repetitions; bars are ± 1.96 s / sqrt(n), absent for one repetition."


def size_figure(data: ReportData) -> list[Picture]:
    """A panel for each dataset, initial weights and network; none when every dataset has one size alone."""
    students = [cell for cell in data.cells if cell.role == "student"]
    scored = [cell for cell in students if cell.summary is not None and _train_images(cell)]
    groups = grouped(scored, lambda cell: (cell.label.dataset, cell.label.init, cell.label.network))
    several = {key: cells for key, cells in groups.items() if len({cell.label.subset for cell in cells}) > 1}
    figure = None
    if several:
        styles = series_styles([cell.method_text for cells in several.values() for cell in cells])
        columns = min(2, len(several))
        legend = [style.sample(text) for text, style in styles.items()]
        figure, rows = panels(-(-len(several) // columns), columns, legend)
        flat = [axes for row in rows for axes in row]
        for axes, ((dataset, init, network), cells) in zip(flat, sorted(several.items()), strict=False):
            _panel(axes, cells, styles)
            label_axes(
                axes,
                title=f"{word(network)} on {word(dataset)}\n{word(init)} initial weights",
                x="Training images (log scale)",
                y="Test AUROC (points) ± 95 % CI",
            )
        for axes in flat[len(several) :]:
            axes.set_axis_off()
    return picture(figure, data.out / "auroc_by_size.png", "Test AUROC against training images", _CAPTION, students)


def _train_images(cell: Cell) -> int:
    """Number of training images that the finished repetitions recorded; 0 when they did not."""
    return next((run.result.train_images or 0 for run in cell.finished if run.result), 0)


def _panel(axes: Axes, cells: list[Cell], styles: dict[str, Style]) -> None:
    for text, members in grouped(cells, lambda cell: cell.method_text).items():
        points = sorted(
            (_train_images(cell), cell.summary.mean, cell.summary.normal_half or 0.0)
            for cell in members
            if cell.summary is not None
        )
        sizes, means, halves = zip(*points, strict=True)
        style = styles[text]
        look: dict[str, Any] = {"color": style.colour, "marker": style.marker, "linewidth": 1.5}
        axes.errorbar(sizes, means, yerr=halves, markersize=5, capsize=3, **look)
    axes.set_xscale("log")
    ticks = sorted({_train_images(cell) for cell in cells})
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks])
    axes.minorticks_off()
