"""``cxr grid sweep``: make a grid of one config and lists of values, and submit it."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import tyro

from datasets.errors import InputError
from datasets.files import write_text
from launch.cli.grid.plan import GridView
from launch.cli.grid.submit import Submit
from launch.executors.base import SubmitRequest
from launch.grids.grid import Grid
from launch.grids.sweep import WHERE, sweep_toml
from launch.grids.toml_file import grid_of
from launch.plan.decide import Decision
from launch.ranges import Count

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Sweep(Submit):
    """Run one config under all combinations of values: print and write the grid that this is, and submit it.

    What submit takes is taken too. The written file is a grid like any other, for cxr grid status, logs and retry;
    the same command goes on with it. With --dry-run nothing is written or started.

    For example:
        cxr grid sweep run.toml --set schedule.learning_rate=1e-4,5e-5 --set data.subset=1k,5k --seeds 3
    """

    grid: Annotated[tyro.conf.Positional[str], tyro.conf.arg(name="config", metavar="RUN.TOML")]
    """Config of the run, as cxr train takes it; its [runtime] table is left to the options."""
    set: Annotated[
        tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="KEY=VALUE,VALUE")
    ] = ()
    """A key of the config and its values."""
    seeds: Count | None = None
    """Seeds 0, 1, .. of each combination; by default the config's own."""
    out: Path | None = None
    """File of the grid; by default RUN_sweep.toml beside the config."""

    @cached_property
    def text(self) -> str:
        """The grid in TOML."""
        return sweep_toml(Path(self.grid), [item for group in self.set for item in group], self.seeds)

    @property
    def file(self) -> Path:
        """Where the grid is written."""
        path = Path(self.grid)
        return path.with_name(f"{path.stem}_sweep.toml") if self.out is None else self.out

    def request(self, view: GridView, plan: Sequence[Decision]) -> SubmitRequest:
        return replace(super().request(view, plan), grid=str(self.file))

    def load(self) -> Grid:
        return grid_of(tomllib.loads(self.text), WHERE)

    def run(self) -> None:
        out = self.file
        print(self.text)
        if not self.dry_run:
            if out.exists() and out.read_text(encoding="utf-8") != self.text:
                raise InputError(f"{out} holds another grid; remove it, or give --out")
            write_text(out, self.text)
            logger.info("written to %s; cxr grid status %s follows it", out, out)
        super().run()
