"""A folder of run folders comes in; the report's files go out: page, tables, CSV, LaTeX and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.errors import InputError
from datasets.files import write_text
from launch.report.cells import Cell, group_cells
from launch.report.collect import Collection, collect
from launch.report.comparable import comparable_scores
from launch.report.figures import draw_curves
from launch.report.html import Picture, Section, html_page
from launch.report.latex import latex_document
from launch.report.markdown import markdown_document, to_markdown
from launch.report.overview import comparison_tables, label_tables, overview_table, prerequisite_table
from launch.report.paper_tables import figure_3_cells, matching_cells, paper_tables
from launch.report.size_figure import draw_sizes
from launch.report.table import Table, phantom_notes
from launch.report.tidy import tidy_csv
from launch.report.trace import passed_over_table, runs_table


@dataclass(frozen=True)
class Built:
    """What was written and what to tell the user."""

    paths: tuple[Path, ...]
    main_markdown: str
    """The tables that answer the question, for the terminal."""
    notes: tuple[str, ...]
    collection: Collection


@dataclass(frozen=True, kw_only=True)
class _Tables:
    main: tuple[Table, ...]
    overview: Table
    labels: tuple[Table, ...]
    runs: Table
    passed_over: Table | None

    @property
    def trace(self) -> tuple[Table, ...]:
        return (self.runs,) if self.passed_over is None else (self.runs, self.passed_over)


def build_report(directory: Path, out: Path) -> Built:
    """Read the runs below ``directory`` and write the report into ``out``.

    Raises:
        InputError: when there is no run folder to report on, or ``out`` cannot be a folder.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the report with --out")
    collection = collect(directory, skip=out)
    scores = comparable_scores(collection.runs)
    cells = group_cells(collection.runs, scores)
    notes = (*phantom_notes(cells), *scores.notes)
    out.mkdir(parents=True, exist_ok=True)
    tables = _tables(cells, collection, out)
    pictures = _draw(cells, out)
    title = f"Results of the runs in {directory.resolve().name}"
    paths = _write_tables(title, notes, tables, cells, out)
    index = out / "index.html"
    page = html_page(
        title=title,
        summary=_summary(cells, collection),
        notes=notes,
        sections=_sections(tables),
        pictures=pictures,
        downloads=[*paths, *(picture.path for picture in pictures)],
    )
    write_text(index, page)
    written = (index, *paths, *(picture.path for picture in pictures))
    main = "\n".join(to_markdown(table, links=False) for table in tables.main)
    return Built(written, main, notes, collection)


def _tables(cells: Sequence[Cell], collection: Collection, out: Path) -> _Tables:
    """Main tables: the paper's, then comparisons of what is not in the paper, then the prerequisites."""
    in_paper = {cell.config.hash for cell in matching_cells(cells)[0].values()}
    main = paper_tables(cells)
    main += comparison_tables([cell for cell in cells if cell.config.hash not in in_paper])
    prerequisites = prerequisite_table(cells)
    if prerequisites is not None:
        main.append(prerequisites)
    overview = overview_table(cells)
    return _Tables(
        main=tuple(main) or (overview,),
        overview=overview,
        labels=tuple(label_tables(cells)),
        runs=runs_table(cells, out),
        passed_over=passed_over_table(collection.passed_over, collection.directory),
    )


def _sections(tables: _Tables) -> list[Section]:
    sections = [
        Section(title="Results", tables=tables.main),
        Section(title="All cells", tables=(tables.overview,)),
    ]
    if tables.labels:
        sections.append(Section(title="AUROC by label", tables=tables.labels, folded=len(tables.labels) > 3))
    return [*sections, Section(title="Runs", tables=tables.trace)]


def _write_tables(
    title: str, notes: Sequence[str], tables: _Tables, cells: Sequence[Cell], out: Path
) -> tuple[Path, ...]:
    everything = dict.fromkeys((*tables.main, tables.overview, *tables.labels, *tables.trace))
    documents = {
        "tables.md": markdown_document(title, notes, everything),
        "tables.csv": tidy_csv(cells),
        "tables.tex": latex_document(title, notes, dict.fromkeys((*tables.main, tables.overview))),
    }
    for name, text in documents.items():
        write_text(out / name, text)
    return tuple(out / name for name in documents)


_CURVES = "Mean over the finished repetitions, up to the last step that all reached; the band is their range."
_SIZES = "Mean over the finished repetitions; bars are ± 1.96 s / sqrt(n), absent for one repetition."


def _draw(cells: Sequence[Cell], out: Path) -> list[Picture]:
    """Draw what there is to draw; a picture of an earlier report that no longer applies is removed."""
    students = [cell for cell in cells if cell.role == "student"]
    before = [cell for cell in cells if cell.role == "prerequisite"]
    wanted = [
        (draw_curves, figure_3_cells(cells), "figure_3.png", "The paper's Fig. 3", _CURVES),
        (draw_curves, students, "curves.png", "Learning curves", _CURVES),
        (draw_sizes, students, "auroc_by_size.png", "Test AUROC against training images", _SIZES),
        (draw_curves, before, "curves_prerequisites.png", "Learning curves of the prerequisites", _CURVES),
    ]
    pictures = []
    for draw, members, name, title, caption in wanted:
        path = out / name
        if draw(members, path):
            pictures.append(Picture(path, title, " ".join((caption, *phantom_notes(members)))))
        else:
            path.unlink(missing_ok=True)
    return pictures


def _summary(cells: Sequence[Cell], collection: Collection) -> str:
    done = sum(run.result is not None for run in collection.runs)
    counts = f"{len(collection.runs)} runs in {len(cells)} cells; {done} finished"
    waiting = len(collection.runs) - done
    return f"{counts}, {waiting} not." if waiting else f"{counts}."
