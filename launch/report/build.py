"""Write the report of a folder of run folders: page, tables, CSV, LaTeX and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.errors import InputError
from datasets.files import write_text
from launch.report.content import Item, Note, Picture, ReportData
from launch.report.methods.methods import checklists, paragraphs
from launch.report.options import UNHURRIED, Options
from launch.report.parts import PARTS, ReportPart
from launch.report.read.collect import MARK, collect, is_report
from launch.report.statistics.bootstrap import CACHE_NAME, Bootstrap
from launch.report.statistics.cells import comparable_scores, group_cells, grouped
from launch.report.statistics.clinical import CACHE_NAME as SCORES_CACHE
from launch.report.statistics.clinical import Clinical, clinical_scores
from launch.report.statistics.pairs import Comparison, compare_pairs, find_pairs
from launch.report.tables.clinical import scores_csv
from launch.report.tables.paired_tables import paired_csv
from launch.report.tables.paper_tables import tidy_csv
from launch.report.tables.table import Table, cell_notes
from launch.report.write.documents import (
    Section,
    html_page,
    latex_document,
    markdown_document,
    methods_document,
    to_markdown,
)

MANY_TABLES = 3
"""Tables of a section beyond which they open on a click, where a part says so."""
DOCUMENTS = ("index.html", "methods.md", "tables.md", "tables.csv", "tables.tex", "paired.csv", "scores.csv")
Parts = Sequence[tuple[ReportPart, tuple[Item, ...]]]


@dataclass(frozen=True)
class Built:
    """What was written and what to tell the user."""

    data: ReportData
    paths: tuple[Path, ...]
    main_markdown: str
    """The tables that answer the question, for the terminal."""
    notes: tuple[str, ...]


def read_data(directory: Path, out: Path, options: Options = UNHURRIED) -> ReportData:
    """Read the runs below ``directory``, group and compare them; results of the bootstrap are kept in ``out``.

    Raises:
        InputError: when there is no run folder to report on.
    """
    collection = collect(directory, skip=out)
    points, notes = comparable_scores(collection.runs)
    cells = group_cells(collection.runs, points)
    pairs = find_pairs(cells)
    bootstrap = Bootstrap(options.resamples, options.bootstrap_seed, out / CACHE_NAME, options.bootstrap_seconds)
    comparison = compare_pairs(pairs, bootstrap) if options.resamples else Comparison()
    clinical = Clinical()
    if options.resamples:
        drawn = {"resamples": options.resamples, "seed": options.bootstrap_seed}
        clinical = clinical_scores(cells, out / SCORES_CACHE, seconds=options.bootstrap_seconds, **drawn)
    passed_over = (*collection.passed_over, *comparison.passed_over)
    named = {item.path for item in passed_over}
    passed_over += tuple(item for item in clinical.passed_over if item.path not in named)
    return ReportData(
        collection=replace(collection, passed_over=passed_over),
        cells=cells,
        pairs=tuple(pairs),
        compared=comparison.compared,
        clinical=clinical,
        notes=(*cell_notes(cells), *notes, *comparison.notes),
        waiting=bool(comparison.notes or clinical.notes),
        options=options,
        out=out,
    )


def build_report(
    directory: Path,
    out: Path,
    options: Options = UNHURRIED,
    *,
    refresh_s: float | None = None,
    lead: Sequence[Section] = (),
) -> Built:
    """Read the runs below ``directory`` and write the report into ``out``; the page last.

    ``refresh_s`` are seconds after which a browser loads the page again, ``lead`` sections at its head.

    Raises:
        InputError: when there is no run folder to report on, or ``out`` cannot be its folder.
    """
    check_place(out)
    data = read_data(directory, out, options)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / MARK, "This folder is written by cxr report, which replaces its files.\n")
    parts = [(part, part.build(data)) for part in sorted(PARTS.values(), key=lambda part: part.order)]
    title = f"Results of the runs in {directory.resolve().name}"
    paths = _write_tables(title, parts, data)
    total, done = len(data.collection.runs), data.num_done
    missing = f", {total - done} not" if total > done else ""
    page = html_page(
        [*lead, *_sections(parts)],
        data,
        title=title,
        summary=f"{total} runs in {len(data.cells)} cells; {done} finished{missing}.",
        downloads=paths,
        refresh_s=refresh_s,
    )
    write_text(out / "index.html", page)
    items = [(part.section.lower(), item) for part, found in parts for item in found]
    drawn = [path for _, item in items if isinstance(item, Picture) for path in (item.path, item.pdf)]
    said = [f"{section}: {item.text}" for section, item in items if isinstance(item, Note) and item.terminal]
    return Built(
        data=data,
        paths=(out / "index.html", *paths, *drawn),
        main_markdown="\n".join(to_markdown(table, links=False) for table in _tables(parts, "terminal")),
        notes=(*data.notes, *said),
    )


def check_place(out: Path) -> None:
    """Refuse a folder for the report that holds files of its names from elsewhere.

    Raises:
        InputError: then, and when ``out`` is a file.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the report with --out")
    foreign = [name for name in DOCUMENTS if (out / name).exists()]
    if foreign and not is_report(out):
        raise InputError(f"{out / foreign[0]}: not of a cxr report, so it is kept; give another folder with --out")


def _tables(parts: Parts, where: str = "") -> tuple[Table, ...]:
    """Each table once, in order; ``where`` keeps the parts whose field of that name is true."""
    chosen = (items for part, items in parts if not where or getattr(part, where))
    return tuple(dict.fromkeys(item for items in chosen for item in items if isinstance(item, Table)))


def _sections(parts: Parts) -> list[Section]:
    """The page from top to bottom; what is empty is left out."""
    found = []
    for title, members in grouped(parts, lambda entry: entry[0].section).items():
        items = [item for _, built in members for item in built]
        tables = tuple(item for item in items if isinstance(item, Table))
        section = Section(
            title=title,
            tables=tables,
            pictures=tuple(item for item in items if isinstance(item, Picture)),
            notes=tuple(item.text for item in items if isinstance(item, Note)),
            folded=len(tables) > MANY_TABLES and any(part.folds for part, _ in members),
        )
        found += [section] if items else []
    return found


def _write_tables(title: str, parts: Parts, data: ReportData) -> tuple[Path, ...]:
    documents = {
        "methods.md": methods_document(data.notes, paragraphs(data), checklists(data)),
        "tables.md": markdown_document(title, data.notes, _tables(parts)),
        "tables.csv": tidy_csv(data.cells),
        "tables.tex": latex_document(title, data.notes, _tables(parts, "latex")),
    }
    if data.compared:
        documents["paired.csv"] = paired_csv(data.compared)
    if data.clinical.cells:
        documents["scores.csv"] = scores_csv(data)
    for name in {"paired.csv", "scores.csv"} - documents.keys():
        (data.out / name).unlink(missing_ok=True)
    for name, text in documents.items():
        write_text(data.out / name, text)
    return tuple(data.out / name for name in documents)
