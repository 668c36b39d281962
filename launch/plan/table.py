"""Tables and counts as all ``cxr grid`` commands print them: headers and rows come in; text goes out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 160
MAX_ROWS = 1000
"""Rows that a person gets to see; drawing more takes longer than anything else, and ``--json`` has them all."""
FOLDING = ("prerequisite", "search", "repetition", "why", "error or why it waits")
NUMBERS = ("epoch", "AUROC", "images/s", "ETA", "needs", "images", "GPU-h")


def make_table(*headers: str, left: tuple[str, ...] = FOLDING, right: tuple[str, ...] = NUMBERS) -> Table:
    """Columns that never vanish: the text of ``left`` folds, the numbers of ``right`` keep their width."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(
            header,
            overflow="fold",
            no_wrap=header not in left,
            justify="right" if header in right else "left",
            min_width=6 if header in left else None,
        )
    return table


def print_tables(tables: Iterable[Table]) -> None:
    """Print to a terminal at its width, into a pipe wide."""
    to_pipe = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(width=PIPE_WIDTH if to_pipe else None, highlight=False)
    for table in tables:
        console.print(table)
        console.print()


def print_counts(total: int, counts: Mapping[str, int]) -> None:
    """One line: how many runs there are of each sort."""
    print(counts_line(total, counts))


def counts_line(total: int, counts: Mapping[str, int]) -> str:
    """``320 runs: 3 done, 317 waiting``."""
    runs = "run" if total == 1 else "runs"
    return f"{total} {runs}: " + ", ".join(f"{count} {words}" for words, count in counts.items() if count)
