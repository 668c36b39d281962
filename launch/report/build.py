"""A folder of run folders comes in; the report's files go out: page, tables, CSV, LaTeX and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasets.errors import InputError
from datasets.files import write_text
from launch.report.content import Tables, page_sections, report_tables
from launch.report.figures.attention_section import AttentionFigures, AttentionOptions, draw_attention
from launch.report.figures.learning_curves import draw_curves
from launch.report.figures.paired_figure import draw_differences
from launch.report.figures.size_figure import draw_sizes
from launch.report.read.collect import Collection, collect
from launch.report.read.comparable import comparable_scores
from launch.report.statistics.bootstrap_cache import CACHE_NAME, Bootstrap
from launch.report.statistics.cells import Cell, group_cells
from launch.report.statistics.pairs import Compared, Comparison, Pair, compare_pairs, find_pairs
from launch.report.tables.paired_tables import paired_csv
from launch.report.tables.paper_tables import figure_3_cells
from launch.report.tables.table import phantom_notes
from launch.report.tables.tidy import tidy_csv
from launch.report.write.html import Picture, html_page
from launch.report.write.latex import latex_document
from launch.report.write.markdown import markdown_document, to_markdown

RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a report is made with beside the runs."""

    resamples: int = RESAMPLES
    """Of the paired bootstrap; 0 leaves it out."""
    seed: int = 0
    """Of the paired bootstrap."""
    bootstrap_s: float | None = None
    """Seconds after which the paired bootstrap begins no new pair; None for as long as it takes."""
    attention: AttentionOptions = field(default_factory=AttentionOptions)
    refresh_s: float | None = None
    """Seconds after which a browser loads the page again."""


@dataclass(frozen=True)
class Built:
    """What was written and what to tell the user."""

    paths: tuple[Path, ...]
    main_markdown: str
    """The tables that answer the question, for the terminal."""
    notes: tuple[str, ...]
    collection: Collection
    waiting: bool = False
    """Whether pairs wait for the next report with their bootstrap."""

    @property
    def summary(self) -> str:
        """How many runs are finished, in one phrase."""
        done = sum(run.result is not None for run in self.collection.runs)
        return f"{done} of {len(self.collection.runs)} runs finished"


def build_report(directory: Path, out: Path, options: Options | None = None) -> Built:
    """Read the runs below ``directory`` and write the report into ``out``; the page last.

    Raises:
        InputError: when there is no run folder to report on, or ``out`` cannot be a folder.
    """
    options = options or Options()
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the report with --out")
    collection = collect(directory, skip=out)
    scores = comparable_scores(collection.runs)
    cells = group_cells(collection.runs, scores)
    out.mkdir(parents=True, exist_ok=True)
    pairs = find_pairs(cells)
    comparison = _compare(pairs, options, out)
    compared = comparison.compared
    notes = (*phantom_notes(cells), *scores.notes, *comparison.notes)
    collection = replace(collection, passed_over=(*collection.passed_over, *comparison.passed_over))
    figures = _draw(cells, out)
    differences = _draw_differences(compared, out)
    attention = draw_attention(pairs, collection, options.attention, out)
    tables = report_tables(cells, compared, collection, out)
    title = f"Results of the runs in {directory.resolve().name}"
    paths = _write_tables(title, notes, tables, cells, compared, out)
    pictures = (*figures, *differences, *attention.pictures)
    drawn = tuple(path for picture in pictures for path in (picture.path, picture.pdf))
    index = out / "index.html"
    page = html_page(
        title=title,
        summary=_summary(cells, collection),
        notes=notes,
        sections=page_sections(tables, figures, differences, attention),
        downloads=paths,
        refresh_s=options.refresh_s,
    )
    write_text(index, page)
    main = "\n".join(to_markdown(table, links=False) for table in tables.main)
    said = (*notes, *_asked(attention, options))
    return Built((index, *paths, *drawn), main, said, collection, waiting=bool(comparison.notes))


def _compare(pairs: Sequence[Pair], options: Options, out: Path) -> Comparison:
    if not options.resamples:
        return Comparison()
    bootstrap = Bootstrap(options.resamples, options.seed, out / CACHE_NAME, options.bootstrap_s)
    return compare_pairs(pairs, bootstrap)


def _asked(attention: AttentionFigures, options: Options) -> tuple[str, ...]:
    """What is said of attention maps on the terminal: nothing unless they were asked for."""
    return tuple(f"attention maps: {note}" for note in attention.notes) if options.attention.count else ()


def _write_tables(
    title: str,
    notes: Sequence[str],
    tables: Tables,
    cells: Sequence[Cell],
    compared: Sequence[Compared],
    out: Path,
) -> tuple[Path, ...]:
    documents = {
        "tables.md": markdown_document(title, notes, tables.everything),
        "tables.csv": tidy_csv(cells),
        "tables.tex": latex_document(title, notes, tables.scores),
        "paired.csv": paired_csv(compared),
    }
    if not compared:
        del documents["paired.csv"]
        (out / "paired.csv").unlink(missing_ok=True)
    for name, text in documents.items():
        write_text(out / name, text)
    return tuple(out / name for name in documents)


_CURVES = "Mean over the finished repetitions, up to the last step that all reached; the band is their range."
_SIZES = "Mean over the finished repetitions; bars are ± 1.96 s / sqrt(n), absent for one repetition."
_DIFFERENCES = "Mean over the repetitions, with the 95 % interval of the paired bootstrap over patients."


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
        if draw(members, out / name):
            pictures.append(Picture(out / name, title, " ".join((caption, *phantom_notes(members)))))
        else:
            _remove(out / name)
    return pictures


def _draw_differences(compared: Sequence[Compared], out: Path) -> list[Picture]:
    path = out / "paired.png"
    if not draw_differences(compared, path):
        _remove(path)
        return []
    made_up = phantom_notes([item.pair.other for item in compared])
    return [Picture(path, "Difference to transfer learning by label", " ".join((_DIFFERENCES, *made_up)))]


def _remove(picture: Path) -> None:
    picture.unlink(missing_ok=True)
    picture.with_suffix(".pdf").unlink(missing_ok=True)


def _summary(cells: Sequence[Cell], collection: Collection) -> str:
    done = sum(run.result is not None for run in collection.runs)
    counts = f"{len(collection.runs)} runs in {len(cells)} cells; {done} finished"
    waiting = len(collection.runs) - done
    return f"{counts}, {waiting} not." if waiting else f"{counts}."
