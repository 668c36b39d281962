"""Tables and pictures come in; one HTML page goes out that needs no other file and no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from launch.report.table import Table

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True)
class Picture:
    """A PNG file beside the page and what it shows; it is put into the page whole."""

    path: Path
    title: str
    caption: str

    @property
    def data_uri(self) -> str:
        """The file's bytes as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode("ascii")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with tables below it; ``folded`` sections open on a click and are printed."""

    title: str
    tables: tuple[Table, ...]
    folded: bool = False


def html_page(
    *,
    title: str,
    summary: str,
    notes: Sequence[str],
    sections: Sequence[Section],
    pictures: Sequence[Picture],
    downloads: Sequence[Path],
) -> str:
    """The page; every text is escaped, so a name can never become markup."""
    return _template().render(
        title=title, summary=summary, notes=notes, sections=sections, pictures=pictures, downloads=downloads
    )


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
