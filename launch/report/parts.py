"""Register the parts of a report: tables and figures, in the order of the page.

A part names its builder as ``module:function``, which takes ``launch.report.content.ReportData`` and returns tables,
pictures and notes, none when there is nothing to show. A part of another package is registered by an entry point of
the group ``cxr_harness.report_parts`` (see ``docs/extending.md``).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass

from datasets.registry import Registry
from launch.report.content import Item, ReportData


@dataclass(frozen=True, kw_only=True)
class ReportPart:
    """One or more tables and figures, and where they stand."""

    section: str
    """Heading on the page; parts of one heading stand together, at the place of the first."""
    order: int
    """Place among all parts, from the top."""
    builder: str
    terminal: bool = False
    """Whether its tables are printed by ``cxr report``."""
    latex: bool = False
    """Whether its tables are for a paper, and so in tables.tex; tables.md holds all."""
    folds: bool = False
    """Whether more than three tables of it open on a click."""

    def build(self, data: ReportData) -> tuple[Item, ...]:
        """Import the builder and call it."""
        found: Iterable[Item] = pkgutil.resolve_name(self.builder)(data)
        return tuple(found)


PARTS = Registry[ReportPart]("report part", "cxr_harness.report_parts")

_TABLES, _FIGURES = "launch.report.tables", "launch.report.figures"
_CURVES, _DIFFERENCE = f"{_FIGURES}.learning_curves", "Difference to transfer learning"
for _name, _part in {
    "results": ReportPart(
        section="Results", order=100, builder=f"{_TABLES}.overview:results", terminal=True, latex=True
    ),
    "figure_3": ReportPart(section="Figures", order=200, builder=f"{_CURVES}:figure_3"),
    "curves": ReportPart(section="Figures", order=210, builder=f"{_CURVES}:student_curves"),
    "sizes": ReportPart(section="Figures", order=220, builder=f"{_FIGURES}.size_figure:size_figure"),
    "prerequisite_curves": ReportPart(section="Figures", order=230, builder=f"{_CURVES}:prerequisite_curves"),
    "paired_means": ReportPart(
        section=_DIFFERENCE, order=300, builder=f"{_TABLES}.paired_tables:paired_means", latex=True
    ),
    "paired_figure": ReportPart(section=_DIFFERENCE, order=310, builder=f"{_FIGURES}.paired_figure:paired_figure"),
    "paired": ReportPart(
        section="Difference by label", order=400, builder=f"{_TABLES}.paired_tables:paired", latex=True, folds=True
    ),
    "attention": ReportPart(
        section="Attention maps", order=500, builder=f"{_FIGURES}.attention_section:attention_maps"
    ),
    "overview": ReportPart(section="All cells", order=600, builder=f"{_TABLES}.overview:overview", latex=True),
    "labels": ReportPart(section="AUROC by label", order=700, builder=f"{_TABLES}.overview:labels", folds=True),
    "cost": ReportPart(section="Throughput and cost", order=800, builder=f"{_TABLES}.cost:cost"),
    "runs": ReportPart(section="Runs", order=900, builder=f"{_TABLES}.trace:runs"),
}.items():
    PARTS.add(_name, _part)
