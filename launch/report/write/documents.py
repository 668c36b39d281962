"""Write a report as one HTML page that needs no other file and no network, as Markdown and LaTeX; and model cards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from harness.config import OBJECTIVES
from launch.report.content import Chart, Picture, ReportData
from launch.report.read.collect import GENERATOR
from launch.report.tables.table import Column, Table, Value
from launch.report.write.page_data import library, page_data, run_parts, script_hash

if TYPE_CHECKING:
    from harness.export.export import Exported

_TEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    '"': r"\textquotedbl{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
}
PAGE_FILES = ("page.css", "page.js")
_LAST_LATIN = 0x17F
"""Letters up to here are known to the T1 fonts; others would stop the compiler."""
_TEX_MARKS: dict[str, Any] = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}
"""jinja's own marks are TeX's."""


def template(name: str, **filters: Callable[..., object]) -> Template:
    """A template of this folder; in a page every text is escaped, so that a name can never become markup."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not name.endswith(".html.j2"),
        **(_TEX_MARKS if name.endswith(".tex.j2") else {}),
    )
    environment.filters.update(filters)
    return environment.get_template(name)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with figures and tables below it; tables of ``folded`` sections open on a click and are printed."""

    title: str
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    folded: bool = False


def html_page(
    sections: Sequence[Section], data: ReportData, *, refresh_s: float | None = None, **values: object
) -> str:
    """The page, which a browser loads again after ``refresh_s``; ``values`` are title, summary and downloads.

    Its policy lets no request out and no script run but the two that are put into it here.
    """
    charts = [item for section in sections for item in section.pictures if isinstance(item, Chart)]
    style, script = (Markup((Path(__file__).parent / name).read_text(encoding="utf-8")) for name in PAGE_FILES)
    bokeh = library()
    return template("page.html.j2").render(
        **values,
        sections=sections,
        charts=charts,
        runs=run_parts(data),
        notes=data.notes,
        data=page_data(data, charts),
        style=style,
        script=script,
        library=bokeh,
        allowed=Markup(f"{script_hash(script)} {script_hash(bokeh)}"),
        refresh_s=refresh_s,
        generator=GENERATOR,
    )


def without_refresh(page: str) -> str:
    """The same page, which a browser no longer loads again by itself."""
    return re.sub(r'<meta http-equiv="refresh" content="[^"]*">\n', "", page, count=1)


def latex_document(title: str, notes: Sequence[str], tables: Iterable[Table]) -> str:
    """A document that compiles as it is and whose tables can be copied out; values of several lines take rows."""
    return template("tables.tex.j2", tex=tex, stacked=_stacked).render(title=title, notes=notes, tables=tables)


def tex(text: str) -> str:
    """Text as LaTeX prints it; characters that the fonts lack become a question mark."""
    flat = " ".join(text.split())
    return "".join(_TEX.get(char, char if ord(char) <= _LAST_LATIN else "?") for char in flat)


def _stacked(cells: Sequence[Value | Column]) -> list[str]:
    """The lines of a row's cells as rows of LaTeX, with a little room below several."""
    lines = zip_longest(*(cell.lines for cell in cells), fillvalue="")
    rows = [" & ".join(map(tex, line)) + r" \\" for line in lines]
    return rows if len(rows) == 1 else [*rows[:-1], rows[-1] + "[2pt]"]


def to_markdown(table: Table, *, links: bool = True) -> str:
    """One table as GitHub Markdown, padded so that it reads well in a terminal too.

    ``links`` adds those to files; links within the page are not for Markdown.
    """
    heads = [_plain(column.text) for column in table.columns]
    texts = [heads, *([_plain(value.text) for value in row] for row in table.rows)]
    widths = [max(3, *map(len, column)) for column in zip(*texts, strict=True)]
    rows = [
        [" ".join(filter(None, (_plain(value.text), *_links(value, links)))) for value in row] for row in table.rows
    ]
    numeric = [column.numeric for column in table.columns]
    rules = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True)]
    lines = [f"## {_plain(table.title)}", "", _line(heads, widths, numeric), _line(rules, widths, numeric)]
    lines += [_line(row, widths, numeric) for row in rows]
    for note in table.notes:
        lines += ["", _plain(note)]
    return "\n".join(lines) + "\n"


def markdown_document(title: str, notes: Sequence[str], tables: Iterable[Table]) -> str:
    """A whole document: what to know first, then every table."""
    parts = [f"# {_plain(title)}\n"]
    if notes:
        parts.append("\n".join(f"- {_plain(note)}" for note in notes) + "\n")
    return "\n".join([*parts, *map(to_markdown, tables)])


def methods_document(notes: Sequence[str], paragraphs: Mapping[str, str], tables: Iterable[Table]) -> str:
    """Paragraphs for the methods of a paper, then the checklists that they fill."""
    texts = [f"**{title}.** {_plain(text)}\n" for title, text in paragraphs.items() if text]
    return markdown_document("Methods", notes, ()) + "\n" + "\n".join([*texts, *map(to_markdown, tables)])


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = zip(cells, widths, numeric, strict=True)
    return f"| {' | '.join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in padded)} |"


def _links(value: Value, links: bool) -> list[str]:
    files = [link for link in value.links if links and not link.href.startswith("#")]
    return [f"[{_plain(link.text)}]({link.href})" for link in files]


def _plain(text: str) -> str:
    """Text as Markdown text: no markup, no second column, one line."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|`*\[\]])", r"\\\1", flat)


def model_card(exported: Exported) -> str:
    """Say what the model is, what it was made from, how well it does, how to use it, and what it is not for."""
    facts = {"git": {}, "versions": {}, "devices": ["unknown"], "phantom": False}
    facts |= {key: value for key, value in exported.provenance.items() if value}
    method = OBJECTIVES[exported.model.config.objective.method].title
    card = template("model_card.md.j2", text=_name, code=_code, plain=_value)
    return card.render(exported=exported, method=method, facts=facts)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _code(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def _name(text: str) -> str:
    """Names as text, never as markup."""
    return re.sub(r"[\\`*|<>\[\]#]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text.replace("\n", " "))
