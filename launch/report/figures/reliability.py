"""Charts of calibration: how often findings are there that a network gives a probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from launch.report.content import Chart, Panel, ReportData, Series
from launch.report.figures.charts import chart, placed
from launch.report.read.names import word
from launch.report.statistics.cells import Cell
from launch.report.statistics.clinical import RunScores

PARTS: tuple[tuple[str, Literal["solid", "dashed"]], ...] = (
    ("as the network says", "solid"),
    ("calibrated on validation", "dashed"),
)
CAPTION = (
    "Test images of all labels and repetitions in 15 bins of probability; a bin of fewer than 20 is left out. On the "
    "diagonal a probability is what it says."
)
MIN_IMAGES = 20
DIAGONAL = "perfectly calibrated"


def reliability(data: ReportData) -> list[Chart]:
    """A row of panels for each dataset, size and initial weights, a column for each network.

    Of the cells whose runs were calibrated; none without.
    """
    found = {name: scores for name, scores in data.clinical.cells.items() if scores.reliability[1].any()}
    cells = [cell for cell in data.cells if cell.config.hash in found]
    panels = placed(
        cells,
        lambda cell: ((*cell.label.group, cell.config.data.image_size), cell.label.network),
        lambda members: _panel(members, found),
    )
    return chart(data, "reliability", "Reliability of the probabilities", CAPTION, panels, cells)


def _panel(cells: Sequence[Cell], found: dict[str, RunScores]) -> Panel:
    label = cells[0].label
    series = [one for cell in cells for one in _series(cell.method_text, found[cell.config.hash].reliability)]
    return Panel(
        title=f"{word(label.network)}\n{label.group_text}",
        x_text="Mean probability",
        y_text="Share with the finding",
        series=(*series, Series(name=DIAGONAL, x=(0.0, 1.0), y=(0.0, 1.0))),
    )


def _series(name: str, tables: np.ndarray) -> list[Series]:
    series = []
    for (part, line), table in zip(PARTS, tables, strict=True):
        count, probability, target = table[table[:, 0] >= MIN_IMAGES].T
        if len(count):
            x, y = (tuple((values / count).tolist()) for values in (probability, target))
            series.append(Series(name=name, part=part, line=line, x=x, y=y))
    return series
