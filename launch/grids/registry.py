"""Find a grid by its name, or in a Python or TOML file.

A Python file defines ``grid()``, which returns a ``Grid``; it must yield the same runs every time, since
submit, status and report each call it.
"""

from __future__ import annotations

import difflib
import runpy
from collections.abc import Callable
from pathlib import Path

from datasets.errors import InputError
from launch.grids.grid import Grid


def _demo() -> Grid:
    from launch.grids.demo import demo_grid

    return demo_grid()


def _paper() -> Grid:
    from launch.grids.paper.grid import paper_grid

    return paper_grid()


GRIDS: dict[str, Callable[[], Grid]] = {"demo": _demo, "paper": _paper}


def load_grid(name: str) -> Grid:
    """The grid called ``name``, or the one in the TOML or Python file of this name.

    Raises:
        InputError: for an unknown name, with the nearest or all known ones.
    """
    if name.endswith(".py"):
        return load_grid_file(Path(name))
    if name.endswith(".toml"):
        from launch.grids.toml_file import load_grid_toml

        return load_grid_toml(Path(name))
    if name not in GRIDS:
        near = difflib.get_close_matches(name, GRIDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(GRIDS)}, or a TOML or Python file"
        raise InputError(f"grid {name!r} is unknown; {hint}")
    return GRIDS[name]()


FUNCTION = "grid"


def load_grid_file(path: Path) -> Grid:
    """The grid that the file's function ``grid`` returns.

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
