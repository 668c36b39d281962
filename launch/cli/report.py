"""``cxr report``: write tables, figures and one HTML page from run folders."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from datasets.files import disk_full_as_input_error
from launch.ranges import Positive
from launch.report.options import Options

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Report(Options):
    """Write tables, figures and one HTML page from run folders.

    For example:
        cxr report runs/demo --data-dir data/demo
    """

    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Folder that holds the run folders."""
    out: Path | None = None
    """Folder for the report; DIR/report when not given."""
    watch: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Stay, and write the report again whenever a run has changed, until Ctrl-C."""
    every: Positive = 10.0
    """Seconds between two looks at the runs of --watch."""

    def run(self) -> None:
        from launch.report.build import build_report
        from launch.report.follow import follow

        out = self.out if self.out is not None else self.directory / "report"
        if self.watch:
            follow(self.directory, out, self, every_s=self.every)
            return
        with disk_full_as_input_error(out, "some of its files are not written"):
            built = build_report(self.directory, out, self)
        for item in built.data.collection.passed_over:
            logger.warning("%s", item)
        for note in built.notes:
            logger.info("note: %s", note)
        for path in built.paths:
            print(path)
        print()
        print(built.main_markdown, end="")
