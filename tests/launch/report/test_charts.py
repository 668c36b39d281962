"""Charts on paper: what a series asks for is what is drawn."""

from __future__ import annotations

from launch.report.content import Panel, Series
from launch.report.figures.charts import _figure


def test_values_without_a_line_are_markers_alone() -> None:
    series = [Series(name=line, x=(0.0, 1.0), y=(0.1, 0.2), line=line) for line in ("none", "solid", "dashed")]
    figure = _figure([Panel(title="", x_text="", y_text="", series=tuple(series))])
    drawn = [line.get_linestyle() for line in figure.axes[0].lines]
    assert drawn == ["None", "-", "--"]
