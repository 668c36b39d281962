"""Print tables whole: one for which the terminal is too narrow becomes a paragraph for each row."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table

PIPE_WIDTH = 160
FOLDED = 12
"""Characters in which a folded text can still be read."""


def print_whole(*parts: RenderableType) -> None:
    """Print to a terminal at its width, into a pipe wide."""
    to_pipe = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(width=PIPE_WIDTH if to_pipe else None, highlight=False)
    for part in parts:
        if isinstance(part, Group):
            print_whole(*part.renderables)
        elif isinstance(part, Table) and needed_width(part) > console.width:
            for line in _paragraphs(part, console.width):
                print(line)
        else:
            console.print(part)


def needed_width(table: Table) -> int:
    """Return the width in which no word of the table is cut, but for texts of columns that fold."""
    needed = 0 if table.box is None else 1
    for column in table.columns:
        cells = [str(cell) for cell in (column.header, *column.cells)]
        longest = max(len(word) for cell in cells for word in ([cell] if column.no_wrap else [*cell.split(), ""]))
        folds = column.overflow == "fold" and not column.no_wrap
        needed += (min(longest, FOLDED) if folds else longest) + (2 if table.box is None else 3)
    return needed


def _paragraphs(table: Table, width: int) -> Iterator[str]:
    headers = [str(column.header) for column in table.columns]
    for row in zip(*(column.cells for column in table.columns), strict=True):
        text = ", ".join(f"{header} {cell}".strip() for header, cell in zip(headers, row, strict=True) if str(cell))
        yield textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
