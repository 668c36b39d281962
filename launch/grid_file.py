"""A grid of one's own: a Python file that defines ``grid()`` comes in, a ``Grid`` goes out.

The function returns ``Grid(name=..., runs=...)``, as ``launch/demo.py`` does; it must yield the same runs every time,
since submit, status and report each call it.
"""

from __future__ import annotations

import runpy
from pathlib import Path

from datasets.errors import InputError
from launch.grid import Grid

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
        raise InputError(f"{path}: grid() returned {type(made).__name__}; expected a launch.grid.Grid")
    return made
