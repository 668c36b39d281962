"""Write one HTML page that needs no other file and no network, from the template ``page.html.j2``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from launch.report.content import Picture
from launch.report.read.collect import GENERATOR
from launch.report.tables.table import Table

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with figures and tables below it; tables of ``folded`` sections open on a click and are printed."""

    title: str
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    folded: bool = False


def html_page(
    *,
    title: str,
    summary: str,
    notes: Sequence[str],
    sections: Sequence[Section],
    downloads: Sequence[Path],
    refresh_s: float | None = None,
) -> str:
    """The page; every text is escaped, so a name can never become markup.

    With ``refresh_s`` a browser loads it again after so many seconds.
    """
    return _template().render(
        title=title,
        summary=summary,
        notes=notes,
        sections=sections,
        downloads=downloads,
        refresh_s=refresh_s,
        generator=GENERATOR,
    )


def without_refresh(page: str) -> str:
    """The same page, which a browser no longer loads again by itself."""
    return re.sub(r'<meta http-equiv="refresh" content="[^"]*">\n', "", page, count=1)


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
