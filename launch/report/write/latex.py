"""Write tables as one LaTeX document that compiles as it is and whose tables can be copied out of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from launch.report.tables.table import Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
}
_HEAD = r"""\documentclass[a4paper,10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[landscape,margin=15mm]{geometry}
\usepackage{longtable}
\setlength{\tabcolsep}{3pt}
\begin{document}
\footnotesize
"""
_SPACE_BELOW = r" \\[2pt]"
_LAST_LATIN = 0x17F
"""Letters up to here are known to the T1 fonts; others would stop the compiler."""


def escape(text: str) -> str:
    """Text as LaTeX prints it; characters that the fonts lack become a question mark."""
    flat = " ".join(text.split())
    return "".join(_SPECIAL.get(char, char if ord(char) <= _LAST_LATIN else "?") for char in flat)


def latex_document(title: str, notes: Sequence[str], tables: Iterable[Table]) -> str:
    """A whole document; values of several lines take several rows."""
    parts = [_HEAD, rf"\section*{{{escape(title)}}}"]
    parts += [rf"\noindent {escape(note)}\par" for note in notes]
    parts += [_table(table) for table in tables]
    return "\n".join([*parts, r"\end{document}", ""])


def _table(table: Table) -> str:
    spec = "".join("r" if column.numeric else "l" for column in table.columns)
    heads = _stacked([column.lines for column in table.columns])
    body = [line for row in table.rows for line in _stacked([value.lines for value in row])]
    lines = [
        rf"\begin{{longtable}}{{{spec}}}",
        rf"\multicolumn{{{len(table.columns)}}}{{l}}{{\textbf{{{escape(table.title)}}}}}\\",
        r"\hline",
        *heads,
        r"\hline",
        r"\endhead",
        *body,
        r"\hline",
        r"\end{longtable}",
    ]
    lines += [rf"\noindent {escape(note)}\par" for note in table.notes]
    return "\n".join(lines)


def _stacked(cells: Sequence[tuple[str, ...]]) -> list[str]:
    height = max(len(lines) for lines in cells)
    padded = [[*lines, *[""] * (height - len(lines))] for lines in cells]
    rows = [" & ".join(escape(lines[i]) for lines in padded) for i in range(height)]
    return [*(row + r" \\" for row in rows[:-1]), rows[-1] + (_SPACE_BELOW if height > 1 else r" \\")]
