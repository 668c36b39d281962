"""What the parts of a report are made from, and what they are made into."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from launch.report.options import Options
from launch.report.read.collect import Collection
from launch.report.statistics.cells import Cell
from launch.report.statistics.clinical import Clinical
from launch.report.statistics.pairs import Compared, Pair
from launch.report.tables.table import Table


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """The collected runs, as the builder of a report part gets them."""

    collection: Collection
    """Every run that could be read, and the folders that could not."""
    cells: tuple[Cell, ...] = ()
    """The runs grouped by configuration: the repetitions of a cell differ in the seed alone."""
    pairs: tuple[Pair, ...] = ()
    """Cells with a teacher beside their transfer-learning counterparts."""
    compared: tuple[Compared, ...] = ()
    """The pairs with their paired bootstrap."""
    notes: tuple[str, ...] = ()
    """What a reader must know before comparing."""
    waiting: bool = False
    """Whether pairs wait for the next report with their bootstrap."""
    options: Options
    out: Path
    """The report's folder, into which figures are written and to which links are relative."""
    clinical: Clinical = field(default_factory=Clinical)
    """Scores of the students by label and group."""

    @property
    def num_done(self) -> int:
        return sum(run.result is not None for run in self.collection.runs)


@dataclass(frozen=True)
class Picture:
    """A PNG file beside the page, and a PDF file of its name; the PNG is put into the page whole."""

    path: Path
    title: str
    caption: str

    @property
    def pdf(self) -> Path:
        return self.path.with_suffix(".pdf")

    @property
    def data_uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode("ascii")


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values with a name: series of one name look alike and are switched on and off together in all panels."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    """As many as ``x``; NaN is a gap."""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    """Ends of the interval of each value; none where it is empty or NaN."""
    line: Literal["solid", "dashed", "none"] = "solid"
    part: str = ""
    """What tells apart the series of one name, as the split that is scored; switched on and off by itself too."""
    band: bool = False
    """Whether the intervals are a band around the line; bars otherwise."""

    def __post_init__(self) -> None:
        assert len(self.x) == len(self.y), f"{self.name}: {len(self.x)} places but {len(self.y)} values"
        assert len(self.low) == len(self.high), (
            f"{self.name}: {len(self.low)} low ends but {len(self.high)} high ones"
        )
        assert len(self.low) in (0, len(self.x)), f"{self.name}: {len(self.low)} intervals of {len(self.x)} values"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes."""

    title: str
    x_text: str
    y_text: str
    """What the axes show, with its unit."""
    series: tuple[Series, ...]
    categories: tuple[str, ...] = ()
    """Rows from top to bottom, where there are such: ``x`` of a series is then a place among them, counted from 0,
    and its values run from left to right."""
    log_x: bool = False
    """Whether the x axis is logarithmic, with a tick at each place of a series."""
    reference: float | None = None
    """A value at which a line is drawn, as 0 for differences."""
    place: tuple[int, int] = (0, 0)
    """Row and column in the picture."""


@dataclass(frozen=True)
class Chart(Picture):
    """A picture whose values the page draws itself: shown under the mouse, enlarged, switched on and off by name.

    ``launch.report.figures.charts.chart`` makes both of the same panels.
    """

    panels: tuple[Panel, ...]


class Note(NamedTuple):
    """A line at the head of a section; ``terminal`` has the command print it too."""

    text: str
    terminal: bool = False


Item = Table | Picture | Note
