"""Differences to transfer learning by label, with intervals."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from launch.report.content import Picture, ReportData
from launch.report.figures.drawing import Style, label_axes, panel_grid, picture, plain, series_styles
from launch.report.read.names import word
from launch.report.statistics.cells import POINTS
from launch.report.statistics.pairs import Compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CAPTION = "Mean over the repetitions, with the 95 % interval of the paired bootstrap over patients."
_ROW_INCHES = 0.24
_TITLE_WIDTH = 40
"""Characters in one line of a panel's title."""
_SPREAD = 0.5
"""Part of a label's row over which the methods are spread."""


def paired_figure(data: ReportData) -> list[Picture]:
    """A row of panels for each dataset, size, initial weights and labels, a column for each network and scope."""
    styles = series_styles([item.cell.method_text for item in data.compared])
    figure = None
    if data.compared:
        most = max(len(item.names) for item in data.compared)
        figure = panel_grid(
            data.compared,
            _place,
            lambda axes, here: _panel(axes, here, styles),
            [style.sample(f"{text}, 95 % interval") for text, style in styles.items()],
            panel_inches=(4.6, 1.1 + _ROW_INCHES * most),
        )
    title, cells = "Difference to transfer learning by label", [item.cell for item in data.compared]
    return picture(figure, data.out / "paired.png", title, _CAPTION, cells)


def _place(item: Compared) -> tuple[Hashable, str]:
    cell = item.cell
    return (*cell.label.group, cell.config.data.image_size, item.names), f"{cell.label.network} {cell.label.scope}"


def _panel(axes: Axes, members: Sequence[Compared], styles: dict[str, Style]) -> None:
    first = members[0]
    for number, item in enumerate(members):
        style = styles[item.cell.method_text]
        shift = _SPREAD * ((number + 0.5) / len(members) - 0.5)
        for i, interval in enumerate(item.intervals):
            if math.isnan(interval.difference) or math.isnan(interval.low):
                continue
            low, high = POINTS * interval.low, POINTS * interval.high
            axes.plot([low, high], [i + shift] * 2, color=style.colour, linewidth=1.6)
            axes.plot(POINTS * interval.difference, i + shift, style.marker, color=style.colour, markersize=5)
    axes.axvline(0.0, color="#333333", linewidth=1.0)
    axes.axhline(len(first.names) - 1.5, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(first.names)), [plain(name) for name in first.names])
    axes.set_ylim(len(first.names) - 0.4, -0.6)
    label = first.cell.label
    scope = "" if label.scope == "all" else f", {word(label.scope)}"
    title = f"{word(label.network)}{scope}, {first.first.num_patients:,} test patients\n"
    title += textwrap.fill(label.group_text, _TITLE_WIDTH, break_on_hyphens=False)
    label_axes(axes, title=title, x="AUROC minus that of transfer learning (points)", y="")
