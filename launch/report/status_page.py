"""Write the report's page with where each run of a grid stands at its head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets.errors import InputError
from datasets.files import write_text
from launch.plan.tables import STATUS_HEADERS
from launch.report.build import build_report, check_place
from launch.report.content import ReportData
from launch.report.options import Options
from launch.report.read.collect import MARK, Collection
from launch.report.tables.table import Column, Table, text_value
from launch.report.write.documents import Section, html_page

NUMERIC = ("epoch", "AUROC", "images/s", "ETA", "restarts")
MANY_RUNS = 50
"""Rows beyond which the table opens on a click."""


def write_status_page(
    directory: Path, out: Path, line: str, rows: Sequence[tuple[str, ...]], refresh_s: float | None
) -> None:
    """Write ``out/index.html``: ``line``, a row of ``STATUS_HEADERS`` for each run, and the report of ``directory``.

    ``refresh_s`` are seconds after which a browser loads it again. Before a run has a folder the page has no report.

    Raises:
        InputError: when ``out`` cannot be the report's folder.
    """
    columns = tuple(Column((header or "run",), numeric=header in NUMERIC) for header in STATUS_HEADERS)
    values = tuple(tuple(map(text_value, row)) for row in rows)
    table = Table(key="status", title="Runs of the grid", columns=columns, rows=values)
    lead = Section(title="Status", tables=(table,), notes=(line,), folded=len(rows) > MANY_RUNS)
    options = Options()
    try:
        build_report(directory, out, options, refresh_s=refresh_s, lead=[lead])
    except InputError:
        check_place(out)
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / MARK, "This folder is written by cxr report, which replaces its files.\n")
        empty = ReportData(collection=Collection(directory, ()), options=options, out=out)
        title = f"Runs in {directory.resolve().name}"
        page = html_page([lead], empty, title=title, summary="", downloads=(), refresh_s=refresh_s)
        write_text(out / "index.html", page)
