"""Cells and comparisons come in; the report's tables, and the sections of its page, go out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.report.figures.attention_section import AttentionFigures
from launch.report.read.collect import Collection
from launch.report.statistics.cells import Cell
from launch.report.statistics.pairs import Compared
from launch.report.tables.cost import cost_tables
from launch.report.tables.overview import comparison_tables, label_tables, overview_table, prerequisite_table
from launch.report.tables.paired_tables import paired_means, paired_tables
from launch.report.tables.paper_tables import matching_cells, paper_tables
from launch.report.tables.table import Table
from launch.report.tables.trace import passed_over_table, runs_table
from launch.report.write.html import Picture, Section

_MANY = 3
"""Tables of a section beyond which they open on a click."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Every table of the report."""

    main: tuple[Table, ...]
    """Those that answer the question: the paper's, then comparisons of what is not in the paper, prerequisites."""
    overview: Table
    labels: tuple[Table, ...]
    paired_means: Table | None
    paired: tuple[Table, ...]
    cost: tuple[Table, ...]
    runs: Table
    passed_over: Table | None

    @property
    def trace(self) -> tuple[Table, ...]:
        """What leads back to the folders."""
        return (self.runs,) if self.passed_over is None else (self.runs, self.passed_over)

    @property
    def comparison(self) -> tuple[Table, ...]:
        """The paired bootstrap: means first."""
        return self.paired if self.paired_means is None else (self.paired_means, *self.paired)

    @property
    def scores(self) -> tuple[Table, ...]:
        """Tables for a paper."""
        return tuple(dict.fromkeys((*self.main, *self.comparison, self.overview)))

    @property
    def everything(self) -> tuple[Table, ...]:
        """All tables in the order of the page."""
        in_order = (*self.main, *self.comparison, self.overview, *self.labels, *self.cost, *self.trace)
        return tuple(dict.fromkeys(in_order))


def report_tables(cells: Sequence[Cell], compared: Sequence[Compared], collection: Collection, out: Path) -> Tables:
    """Fill every table; links are relative to ``out``."""
    in_paper = {cell.config.hash for cell in matching_cells(cells)[0].values()}
    main = paper_tables(cells)
    main += comparison_tables([cell for cell in cells if cell.config.hash not in in_paper])
    prerequisites = prerequisite_table(cells)
    if prerequisites is not None:
        main.append(prerequisites)
    overview = overview_table(cells)
    return Tables(
        main=tuple(main) or (overview,),
        overview=overview,
        labels=tuple(label_tables(cells)),
        paired_means=paired_means(compared),
        paired=tuple(paired_tables(compared)),
        cost=tuple(cost_tables(cells)),
        runs=runs_table(cells, out),
        passed_over=passed_over_table(collection.passed_over, collection.directory),
    )


def page_sections(
    tables: Tables, figures: Sequence[Picture], differences: Sequence[Picture], attention: AttentionFigures
) -> list[Section]:
    """The page from top to bottom; what is empty is left out."""
    sections = [
        Section(title="Results", tables=tables.main),
        Section(title="Figures", pictures=tuple(figures)),
        Section(
            title="Difference to transfer learning",
            tables=() if tables.paired_means is None else (tables.paired_means,),
            pictures=tuple(differences),
        ),
        Section(title="Difference by label", tables=tables.paired, folded=len(tables.paired) > _MANY),
        Section(title="Attention maps", pictures=attention.pictures, notes=attention.notes),
        Section(title="All cells", tables=(tables.overview,)),
        Section(title="AUROC by label", tables=tables.labels, folded=len(tables.labels) > _MANY),
        Section(title="Throughput and cost", tables=tables.cost),
        Section(title="Runs", tables=tables.trace),
    ]
    return [section for section in sections if section.tables or section.pictures or section.notes]
