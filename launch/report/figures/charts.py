"""Charts: drawn by matplotlib as PNG and PDF, and by the page of the same values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from launch.report.content import Chart, Panel, ReportData, Series
from launch.report.figures.drawing import (
    KEY,
    PANEL_INCHES,
    Style,
    label_axes,
    legend_lines,
    panels,
    plain,
    remove,
    save,
    series_styles,
)
from launch.report.statistics.cells import Cell, grouped
from launch.report.tables.table import cell_notes

T = TypeVar("T")
VERSION = 2
"""Raised when equal values are drawn in another way."""
DASHES: dict[str, Literal["-", "--", "none"]] = {"solid": "-", "dashed": "--", "none": "none"}
_MAX_MARKERS = 8
"""Markers of a line with a band, which would else hide it."""
_ROW_INCHES = 0.24
_FRAME_INCHES = 1.1
"""Height of title and axis of a panel of rows."""


def chart(
    data: ReportData, name: str, title: str, caption: str, drawn: Sequence[Panel], cells: Iterable[Cell] = ()
) -> list[Chart]:
    """The chart of ``drawn`` with its files NAME.png and NAME.pdf; without a panel they are removed.

    Files that were drawn of the same values are kept, since drawing takes longer than all else in a report. The
    caption names images that are made up and mixed arithmetic among ``cells``.
    """
    path = data.out / f"{name}.png"
    if not drawn:
        remove(path)
        return []
    key = hashlib.sha256(f"{VERSION} {matplotlib.__version__} {tuple(drawn)}".encode()).hexdigest()
    if key != _key(path):
        save(_figure(drawn), path, key=key)
    return [Chart(path, title, " ".join((caption, *cell_notes(cells))), tuple(drawn))]


def _key(path: Path) -> str | None:
    """What the files at ``path`` were drawn of; None when they are not both there and whole."""
    try:
        with Image.open(path) as image:
            return image.info.get(KEY) if path.with_suffix(".pdf").is_file() else None
    except OSError:
        return None


def placed(
    items: Iterable[T], place: Callable[[T], tuple[Hashable, str]], panel: Callable[[list[T]], Panel]
) -> list[Panel]:
    """One panel for each row and column that ``place`` gives an item; rows in order of appearance, columns sorted."""
    found = grouped(items, place)
    rows, columns = list(dict.fromkeys(row for row, _ in found)), sorted({column for _, column in found})
    at = {key: (rows.index(key[0]), columns.index(key[1])) for key in found}
    return [replace(panel(found[key]), place=at[key]) for key in sorted(found, key=lambda key: at[key])]


def chart_styles(drawn: Iterable[Panel]) -> dict[str, Style]:
    """How each name of a chart looks, on paper and on the page."""
    return series_styles([series.name for panel in drawn for series in panel.series])


def _figure(drawn: Sequence[Panel]) -> Figure:
    styles = chart_styles(drawn)
    parts = {series.part: DASHES[series.line] for panel in drawn for series in panel.series if series.part}
    lines = [Line2D([], [], color="#555555", linestyle=dashes, label=plain(part)) for part, dashes in parts.items()]
    most = max(len(panel.categories) for panel in drawn)
    inches = (PANEL_INCHES[0], _FRAME_INCHES + _ROW_INCHES * most) if most else PANEL_INCHES
    rows, columns = (1 + max(panel.place[axis] for panel in drawn) for axis in (0, 1))
    figure, grid = panels(rows, columns, legend_lines(styles) + lines, inches)
    free = {(row, column) for row in range(rows) for column in range(columns)}
    for panel in drawn:
        _draw(grid[panel.place[0]][panel.place[1]], panel, styles)
    for row, column in free - {panel.place for panel in drawn}:
        grid[row][column].set_axis_off()
    return figure


def _draw(axes: Axes, panel: Panel, styles: dict[str, Style]) -> None:
    for series in panel.series:
        _draw_series(axes, series, styles[series.name], flipped=bool(panel.categories))
    if panel.reference is not None:
        (axes.axvline if panel.categories else axes.axhline)(panel.reference, color="#333333", linewidth=1.0)
    if panel.categories:
        axes.set_yticks(range(len(panel.categories)), [plain(name) for name in panel.categories])
        axes.set_ylim(len(panel.categories) - 0.4, -0.6)
    if panel.log_x:
        axes.set_xscale("log")
        ticks = sorted({x for series in panel.series for x in series.x})
        axes.set_xticks(ticks, [f"{tick:,g}" if tick < 1 else f"{tick:,.0f}" for tick in ticks])
        axes.minorticks_off()
    label_axes(axes, title=panel.title, x=panel.x_text, y=panel.y_text)


def _draw_series(axes: Axes, series: Series, style: Style, *, flipped: bool) -> None:
    x, y = np.array(series.x), np.array(series.y)
    if series.band and series.low:
        axes.fill_between(x, series.low, series.high, color=style.colour, alpha=0.15, linewidth=0)
    elif series.low:
        ends = np.abs(np.array([series.low, series.high]) - y)
        bars: dict[str, Any] = {"fmt": "none", "ecolor": style.colour, "elinewidth": 1.5}
        if flipped:
            axes.errorbar(y, x, xerr=ends, **bars)
        else:
            axes.errorbar(x, y, yerr=ends, capsize=3, **bars)
    every = max(1, len(x) // _MAX_MARKERS) if series.band else 1
    across, up = (y, x) if flipped else (x, y)
    dashes = DASHES[series.line]
    axes.plot(across, up, linestyle=dashes, markersize=4.5, markevery=every, linewidth=1.6, **style.look)
