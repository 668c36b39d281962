"""``cxr power``: the smallest differences that a grid can show, before it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from datasets.errors import InputError
from launch.cli.grid.plan import print_json
from launch.grids.registry import load_grid
from launch.grids.selection import Selection
from launch.plan.power import Assumptions, grid_power
from launch.plan.power_tables import assumption_lines, label_tables, power_document, power_table
from launch.plan.tables import print_tables


@dataclass(frozen=True, kw_only=True)
class Power(Assumptions, Selection):
    """Print the smallest difference in AUROC that each cell of a grid can show, in the mean and by label.

    It rests on patients and positives of the betons' test splits, on the number of repetitions, and on assumptions
    about what is not known before the runs are trained, which are printed.

    For example:
        cxr power paper --data-dir data --sd-seeds 0.5
    """

    grid: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="GRID")]
    """Name of the grid, demo or paper, a TOML file, or a Python file with a function grid() that
    returns one."""
    data_dir: Path = Path()
    """Folder that holds DATASET.beton for each dataset of the grid."""
    runs_dir: Path = Path("runs")
    """Folder of run folders, whose finished repetitions tell the spread of seeds."""
    json: bool = False
    """Print JSON alone: grid, power, level, auroc, correlation, label_correlation, without_beton, and for each cell
    its counts, deviations and smallest differences in points."""

    def run(self) -> None:
        cells, missing = grid_power(self.choose(load_grid(self.grid)), self.data_dir, self.runs_dir, self)
        if not cells:
            names = " and ".join(f"{name}.beton" for name in missing)
            why = f"{self.data_dir} holds no {names}; convert the data first" if missing else "it has no repetitions"
            raise InputError(f"{self.grid}: {why}")
        if self.json:
            print_json({"grid": self.grid, **power_document(cells, missing, self)})
            return
        print_tables([power_table(cells)])
        for heading, table in label_tables(cells):
            print(heading)
            print_tables([table])
        for line in assumption_lines(cells, missing, self):
            print(line)
