"""Registry of grids, and the grids of TOML and Python files.

A Python file defines ``grid()``, which returns a ``Grid``. It must return the same runs every time, since submit,
status and report each call it.
"""

from __future__ import annotations

import pkgutil
import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.errors import InputError, did_you_mean
from datasets.registry import Registry
from launch.grids.grid import Grid
from launch.grids.toml_file import load_grid_toml

FUNCTION = "grid"


@dataclass(frozen=True, kw_only=True)
class GridEntry:
    """One grid."""

    builder: str
    """``module:function`` without arguments, which returns a ``launch.grids.grid.Grid``; or a TOML file."""
    title: str
    """One line, printed above the plan."""
    data: str
    """What ``--data-dir`` must hold, in words; named when a beton is missing."""
    notes: str | None = None
    """``module:function`` that returns printed values to compare with, by the name of a configuration."""


GRIDS = Registry[GridEntry]("grid", "cxr_harness.grids")
GRIDS.add(
    "demo",
    GridEntry(
        builder=str(Path(__file__).with_name("demo.toml")),
        title="the paper's design in small, on phantoms",
        data="betons of phantoms, as make demo writes them to data/demo",
    ),
)
GRIDS.add(
    "paper",
    GridEntry(
        builder="launch.grids.paper:paper_grid",
        title="the paper's Tables 2, 3 and 5: 63 configurations, three repetitions each",
        data="betons of CheXpert, ChestX-ray14, its sample and MIMIC-CXR at 224 x 224 pixels",
        notes="launch.grids.paper:printed_cells",
    ),
)
GRIDS.add(
    "paper-halving",
    GridEntry(
        builder="launch.grids.paper:halving_grid",
        title="the same runs, with beta searches by successive halving",
        data=GRIDS["paper"].data,
        notes="launch.grids.paper:printed_cells",
    ),
)


def load_grid(name: str) -> Grid:
    """Return the grid called ``name``, or the one in the TOML or Python file of this name.

    Raises:
        InputError: for an unknown name, with the nearest or all known ones.
    """
    if name.endswith(".py"):
        return load_grid_file(Path(name))
    if name.endswith(".toml"):
        return load_grid_toml(Path(name))
    if name not in GRIDS:
        hint = did_you_mean(name, GRIDS).strip() or f"known: {', '.join(GRIDS)}, or a TOML or Python file"
        raise InputError(f"grid {name!r} is unknown; {hint}")
    builder = GRIDS[name].builder
    if builder.endswith(".toml"):
        return load_grid_toml(Path(builder))
    grid: Grid = pkgutil.resolve_name(builder)()
    return grid


def load_grid_file(path: Path) -> Grid:
    """Return the grid that the file's function ``grid`` returns.

    Raises:
        InputError: when the file is absent, fails, or has no such function.
    """
    if not path.is_file():
        raise InputError(f"grid file {path}: no such file")
    try:
        made = runpy.run_path(str(path))[FUNCTION]()
    except KeyError as error:
        raise InputError(f"{path}: {error} is missing; expected a function grid() that returns a Grid") from None
    except (ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from None
    if not isinstance(made, Grid):
        raise InputError(f"{path}: grid() returned {type(made).__name__}; expected a launch.grids.grid.Grid")
    return made


def printed_values(grid: str) -> Mapping[str, dict[str, Any]]:
    """Return the printed values that a registered grid is compared with, by the name of a configuration."""
    notes = GRIDS[grid].notes if grid in GRIDS else None
    return {} if notes is None else pkgutil.resolve_name(notes)()
