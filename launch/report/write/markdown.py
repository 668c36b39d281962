"""Write tables as GitHub Markdown, their columns padded so that they read well in a terminal too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from launch.report.tables.table import Table, Value


def to_markdown(table: Table, *, links: bool = True, level: int = 2) -> str:
    """Title, rows and notes of one table.

    Args:
        table: what to write.
        links: whether links to files are added; links within the page are not for Markdown.
        level: depth of the heading.
    """
    heads = [_escape(column.text) for column in table.columns]
    rows = [[_cell(value, links) for value in row] for row in table.rows]
    texts = [heads, *([_escape(value.text) for value in row] for row in table.rows)]
    widths = [max(3, *(len(row[i]) for row in texts)) for i in range(len(heads))]
    rules = [
        "-" * (width - 1) + ":" if column.numeric else "-" * width
        for column, width in zip(table.columns, widths, strict=True)
    ]
    lines = [f"{'#' * level} {_escape(table.title)}", "", _line(heads, widths, table), _join(rules)]
    lines += [_line(row, widths, table) for row in rows]
    for note in table.notes:
        lines += ["", _escape(note)]
    return "\n".join(lines) + "\n"


def markdown_document(title: str, notes: Sequence[str], tables: Iterable[Table]) -> str:
    """A whole document: what to know first, then every table."""
    parts = [f"# {_escape(title)}\n"]
    if notes:
        parts.append("\n".join(f"- {_escape(note)}" for note in notes) + "\n")
    parts += [to_markdown(table) for table in tables]
    return "\n".join(parts)


def _line(cells: Sequence[str], widths: Sequence[int], table: Table) -> str:
    padded = zip(cells, widths, table.columns, strict=True)
    return _join([cell.rjust(width) if column.numeric else cell.ljust(width) for cell, width, column in padded])


def _join(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Value, links: bool) -> str:
    parts = [_escape(value.text)] if value.text else []
    if links:
        files = [link for link in value.links if not link.href.startswith("#")]
        parts += [f"[{_escape(link.text)}]({link.href})" for link in files]
    return " ".join(parts)


def _escape(text: str) -> str:
    """Text as text: no markup, no second column, one line."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|`*\[\]])", r"\\\1", flat)
