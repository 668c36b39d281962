"""Colours, markers, layout and files that all figures share."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from datasets.files import replacing
from launch.report.content import Picture
from launch.report.statistics.cells import Cell
from launch.report.tables.table import cell_notes

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, told apart without colour vision; markers tell series apart in grey print too."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_FIRST = (
    "Transfer learning",
    "Attention transfer, MIMIC-CXR teacher",
    "Attention transfer, ImageNet teacher",
    "Transfer learning, last 34 layers",
)
PANEL_INCHES = (4.6, 3.3)
_LEGEND_LINE_INCHES = 0.22
_LEGEND_WIDTH = 58
"""Characters in one line of the legend, two of which stand side by side."""
_DOTS_PER_INCH = 130
_CHART_COLOURS = 64
KEY = "cxr-chart"
"""Name of the text in a PNG file that says of what it was drawn."""
LABEL_SIZE = 9
"""Size in points of axis labels and panel titles."""


class Style(NamedTuple):
    """How one series looks."""

    colour: str
    marker: str

    @property
    def look(self) -> dict[str, Any]:
        """Arguments of matplotlib's functions."""
        return {"color": self.colour, "marker": self.marker}


def series_styles(texts: Sequence[str]) -> dict[str, Style]:
    """A style for each text: the paper's methods look the same in every figure; others in order of appearance."""
    found = set(texts)
    ordered = dict.fromkeys((*_FIRST, *texts))
    places = {text: i for i, text in enumerate(ordered) if text in found}
    return {text: Style(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]) for text, i in places.items()}


def legend_lines(styles: Mapping[str, Style]) -> list[Line2D]:
    """A line of the legend for each series."""
    texts = {textwrap.fill(plain(text), _LEGEND_WIDTH): style for text, style in styles.items()}
    return [Line2D([], [], **style.look, markersize=5, label=text) for text, style in texts.items()]


def panels(
    rows: int, columns: int, legend: list[Line2D], panel_inches: tuple[float, float] = PANEL_INCHES
) -> tuple[Figure, list[list[Axes]]]:
    """A grid of axes with one legend below it, which therefore covers no curve."""
    width, height = panel_inches
    legend_columns = max(1, min(columns, 2))
    lines = sum(str(line.get_label()).count("\n") + 1 for line in legend)
    legend_inches = _LEGEND_LINE_INCHES * (math.ceil(lines / legend_columns) + 2)
    figure = Figure(figsize=(width * columns, height * rows + legend_inches), layout="constrained")
    figure.legend(handles=legend, loc="outside lower center", ncols=legend_columns, fontsize=8, frameon=False)
    return figure, figure.subplots(rows, columns, squeeze=False, sharey="row").tolist()


def picture(figure: Figure | None, path: Path, title: str, caption: str, cells: Iterable[Cell]) -> list[Picture]:
    """Save the figure; without one remove what an earlier report drew there. The caption names made-up images."""
    if figure is None:
        remove(path)
        return []
    save(figure, path)
    return [Picture(path, title, " ".join((caption, *cell_notes(cells))))]


def remove(path: Path) -> None:
    """Remove a picture, if it is there."""
    path.unlink(missing_ok=True)
    path.with_suffix(".pdf").unlink(missing_ok=True)


def show_radiograph(axes: Axes, image: np.ndarray, title: str) -> None:
    """An (S, S) uint8 page with a title and no axes."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set_title(plain(title), fontsize=LABEL_SIZE)
    axes.set_axis_off()


def label_axes(axes: Axes, *, title: str, x: str, y: str) -> None:
    """Title, axis labels with their units, grid."""
    axes.set_title(plain(title), fontsize=LABEL_SIZE)
    axes.set_xlabel(x, fontsize=LABEL_SIZE)
    axes.set_ylabel(y, fontsize=LABEL_SIZE)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8)


def plain(text: str) -> str:
    """Text as matplotlib shows it letter by letter: a dollar would begin a formula."""
    return text.replace("$", r"\$")


def save(figure: Figure, path: Path, *, key: str = "") -> None:
    """Write ``path``, a PNG file, and a PDF file beside it, each whole or not at all.

    ``key`` says of what a drawing of lines was made; it stands in the PNG file, which then has 64 colours and a
    fourth of the size.

    A Figure made without pyplot draws with Agg and needs no display. Neither file holds a date, so equal figures are
    equal files.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font", category=UserWarning)
        with replacing(path) as partial:
            figure.savefig(partial, format="png", dpi=_DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
            if key:
                _reduce(partial, key)
        figure.set_layout_engine("none")  # keeps the places just found, which take as long as drawing
        with replacing(path.with_suffix(".pdf")) as partial:
            figure.savefig(partial, format="pdf", facecolor="white", metadata={"CreationDate": None})


def _reduce(path: Path, key: str) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text(KEY, key)
    with Image.open(path) as image:
        reduced = image.convert("RGB").quantize(_CHART_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    reduced.save(path, "PNG", pnginfo=text)
