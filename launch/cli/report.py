"""``cxr report``: a folder of run folders comes in; tables, figures and one HTML page go out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write tables and learning curves from run folders alone.

    Example: cxr report runs/demo
    """

    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Folder that holds the run folders."""
    out: Path | None = None
    """Folder for the report; DIR/report when not given."""

    def run(self) -> None:
        from launch.report.build import build_report

        built = build_report(self.directory, self.out if self.out is not None else self.directory / "report")
        for item in built.collection.passed_over:
            print(item, file=sys.stderr)
        for note in built.notes:
            print(f"note: {note}", file=sys.stderr)
        for path in built.paths:
            print(path)
        print()
        print(built.main_markdown, end="")
