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
        found: Iterable[Item] = pkgutil.resolve_name(self.builder)(data)
        return tuple(found)


PARTS = Registry[ReportPart]("report part", "cxr_harness.report_parts")

_DIFFERENCE = "Difference to transfer learning"
for _name, _section, _order, _builder, _flags in (
    ("results", "Results", 100, "tables.overview:results", ("terminal", "latex")),
    ("figure_3", "Figures", 200, "figures.scores:figure_3", ()),
    ("curves", "Figures", 210, "figures.scores:student_curves", ()),
    ("sizes", "Figures", 220, "figures.scores:size_figure", ()),
    ("prerequisite_curves", "Figures", 230, "figures.scores:prerequisite_curves", ()),
    ("paired_means", _DIFFERENCE, 300, "tables.paired_tables:paired_means", ("latex",)),
    ("paired_figure", _DIFFERENCE, 310, "figures.scores:paired_figure", ()),
    ("paired", "Difference by label", 400, "tables.paired_tables:paired", ("latex", "folds")),
    ("scores", "Scores", 420, "tables.clinical:scores", ("latex",)),
    ("reliability", "Scores", 430, "figures.reliability:reliability", ()),
    ("groups", "Groups of patients", 440, "tables.clinical:groups", ("latex",)),
    ("attention", "Attention maps", 500, "figures.attention:attention_maps", ()),
    ("explanations", "Explanations", 520, "tables.explanations:explanations", ()),
    ("train_by_test", "On other datasets", 550, "tables.train_by_test:train_by_test", ("latex",)),
    ("seen", "What the weights have seen", 570, "tables.seen:what_weights_have_seen", ()),
    ("lineage", "What the weights have seen", 580, "figures.lineage:lineage_figure", ()),
    ("overview", "All cells", 600, "tables.overview:overview", ("latex",)),
    ("searches", "Beta searches by halving", 650, "tables.searches:searches", ()),
    ("labels", "AUROC by label", 700, "tables.overview:labels", ("folds",)),
    ("cost", "Throughput and cost", 800, "tables.cost:cost", ()),
    ("runs", "Runs", 900, "tables.overview:runs", ()),
    ("methods", "Methods", 1000, "methods.methods:methods", ()),
    ("checklists", "Reporting checklists", 1100, "methods.methods:checklists", ("folds",)),
):
    _builder = f"launch.report.{_builder}"
    PARTS.add(_name, ReportPart(section=_section, order=_order, builder=_builder, **dict.fromkeys(_flags, True)))
