"""``cxr report``: write tables, figures and one HTML page from run folders."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from launch.report.content import Options

logger = logging.getLogger(__name__)
ASKED_MAPS = 3
"""Radiographs of the attention maps when --data-dir is given and no number."""


@dataclass(frozen=True, kw_only=True)
class Report:
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
    every: float = 10.0
    """Seconds between two looks at the runs of --watch."""
    data_dir: Path | None = None
    """Folder that holds DATASET.beton: attention maps are drawn too."""
    attention_maps: int | None = None
    """Radiographs of the attention maps; 3 with --data-dir, else 0. Without --data-dir the runs' own betons."""
    imagenet_weights: Path | None = None
    """torchvision's densenet121 file, for attention maps of an ImageNet teacher."""
    xrv_weights: tuple[Path, ...] = ()
    """torchxrayvision files, for attention maps of such a teacher."""
    resamples: int = 2000
    """Resamples of the patients in the paired bootstrap; 0 leaves it out."""
    bootstrap_seed: int = 0
    """Seed of the paired bootstrap."""
    bootstrap_seconds: float = 8.0
    """Seconds after which the paired bootstrap begins no new pair; results are kept, and the next report goes on."""

    def run(self) -> None:
        from launch.report.build import Built, build_report
        from launch.report.follow import follow

        out = self.out if self.out is not None else self.directory / "report"
        options = self._options()
        if self.watch:
            follow(self.directory, out, options, every_s=self.every)
            return
        built: Built = build_report(self.directory, out, options)
        for item in built.data.collection.passed_over:
            logger.warning("%s", item)
        for note in built.notes:
            logger.info("note: %s", note)
        for path in built.paths:
            print(path)
        print()
        print(built.main_markdown, end="")

    def _options(self) -> Options:
        from datasets.errors import InputError
        from launch.report.content import Options

        for name, value in (
            ("resamples", self.resamples),
            ("bootstrap-seed", self.bootstrap_seed),
            ("bootstrap-seconds", self.bootstrap_seconds),
        ):
            if value < 0:
                raise InputError(f"--{name} {value:g}: expected 0 or more")
        if self.every <= 0:
            raise InputError(f"--every {self.every:g}: expected more than 0 seconds")
        count = self.attention_maps
        if count is None:
            count = 0 if self.data_dir is None else ASKED_MAPS
        if not 0 <= count <= 20:
            raise InputError(f"--attention-maps {count}: expected 0 to 20 radiographs")
        return Options(
            resamples=self.resamples,
            seed=self.bootstrap_seed,
            bootstrap_s=self.bootstrap_seconds,
            attention_maps=count,
            data_dir=self.data_dir,
            imagenet_weights=self.imagenet_weights,
            xrv_weights=self.xrv_weights,
        )
