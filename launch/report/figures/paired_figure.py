"""Differences to transfer learning by label, with intervals."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from launch.report.content import Picture, ReportData
from launch.report.figures.drawing import Style, label_axes, panel_grid, picture, plain, series_styles
from launch.report.read.comparable import POINTS
from launch.report.read.names import word
from launch.report.statistics.pairs import Compared
from launch.report.tables.paired_tables import MEAN

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
    compared = data.compared
    styles = series_styles([item.pair.other.method_text for item in compared])
    figure = None
    if compared:
        most = max(len(item.labels) for item in compared) + 1
        figure = panel_grid(
            compared,
            _place,
            lambda axes, here: _panel(axes, here, styles),
            [style.sample(f"{text}, 95 % interval") for text, style in styles.items()],
            panel_inches=(4.6, 1.1 + _ROW_INCHES * most),
        )
    title, cells = "Difference to transfer learning by label", [item.pair.other for item in compared]
    return picture(figure, data.out / "paired.png", title, _CAPTION, cells)


def _place(item: Compared) -> tuple[Hashable, str]:
    cell = item.pair.other
    return (*cell.label.group, cell.config.data.image_size, item.labels), f"{cell.label.network} {cell.label.scope}"


def _panel(axes: Axes, members: Sequence[Compared], styles: dict[str, Style]) -> None:
    names = (*members[0].labels, MEAN)
    for number, item in enumerate(members):
        style = styles[item.pair.other.method_text]
        shift = _SPREAD * ((number + 0.5) / len(members) - 0.5)
        for i, interval in enumerate(item.intervals):
            if math.isnan(interval.difference) or math.isnan(interval.low):
                continue
            low, high = POINTS * interval.low, POINTS * interval.high
            axes.plot([low, high], [i + shift] * 2, color=style.colour, linewidth=1.6)
            axes.plot(POINTS * interval.difference, i + shift, style.marker, color=style.colour, markersize=5)
    axes.axvline(0.0, color="#333333", linewidth=1.0)
    axes.axhline(len(names) - 1.5, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    label = members[0].pair.other.label
    scope = "" if label.scope == "all" else f", {word(label.scope)}"
    label_axes(
        axes,
        title=f"{word(label.network)}{scope}, {members[0].num_patients:,} test patients\n"
        + textwrap.fill(label.group_text, _TITLE_WIDTH, break_on_hyphens=False),
        x="AUROC minus that of transfer learning (points)",
        y="",
    )
