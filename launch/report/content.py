"""What the parts of a report are made from, and what they are made into."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from launch.report.options import Options
from launch.report.read.collect import Collection
from launch.report.statistics.cells import Cell
from launch.report.statistics.pairs import Compared, Pair
from launch.report.tables.table import Table


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """The collected runs, as the builder of a report part gets them."""

    collection: Collection
    """Every run that could be read, and the folders that could not."""
    cells: tuple[Cell, ...]
    """The runs grouped by configuration: the repetitions of a cell differ in the seed alone."""
    pairs: tuple[Pair, ...]
    """Cells with a teacher beside their transfer-learning counterparts."""
    compared: tuple[Compared, ...]
    """The pairs with their paired bootstrap."""
    notes: tuple[str, ...]
    """What a reader must know before comparing."""
    waiting: bool
    """Whether pairs wait for the next report with their bootstrap."""
    options: Options
    out: Path
    """The report's folder, into which figures are written and to which links are relative."""

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


class Note(NamedTuple):
    """A line at the head of a section; ``terminal`` has the command print it too."""

    text: str
    terminal: bool = False


Item = Table | Picture | Note
