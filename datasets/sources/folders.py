"""Find tables, folders and image files below a dataset's root."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from datasets.errors import InputError
from datasets.sources.tables import ROWS_AT_ONCE, read_header, values_of

LIST_FROM = 4
"""From this many wanted files on, listing a folder is cheaper than asking for each of them."""


def table_file(folder: Path, name: str) -> Path | None:
    """``name`` or ``name.gz`` in a folder, in this order."""
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    return None


def needed_file(folder: Path, name: str, why: str) -> Path:
    """``name`` or ``name.gz`` in a folder.

    Raises:
        InputError: when neither is there; ``why`` says what it is needed for.
    """
    file = table_file(folder, name)
    if file is None:
        raise InputError(f"{folder}: no {name}[.gz]; {why}")
    return file


def find_home(root: Path, names: Sequence[str], columns: Collection[str]) -> Path:
    """Folder that holds one of the named tables: ``root`` itself, or the one folder right below it that does.

    A table below ``root`` counts only when it has one of ``columns``: 'train.csv' is a common name.

    Raises:
        InputError: when there is none, or more than one to choose from.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the dataset's folder or its parent as root")
    if any(table_file(root, name) for name in names):
        return root
    homes = []
    for folder in sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith(".")):
        files = [file for name in names if (file := table_file(folder, name)) is not None]
        if any(set(columns) & set(read_header(file)) for file in files):
            homes.append(folder)
    if not homes:
        looked = ", ".join(f"{name}[.gz]" for name in names)
        raise InputError(f"{root}: no table found; looked for {looked} in it and in the folders right below it")
    if len(homes) > 1:
        found = ", ".join(folder.name for folder in homes)
        raise InputError(f"{root}: tables in more than one folder ({found}); give one of them as root")
    return homes[0]


def below(root: Path, folder: Path) -> str:
    """Posix prefix, '' or ending in '/', of ``folder`` below ``root``."""
    relative = folder.relative_to(root).as_posix()
    return "" if relative == "." else f"{relative}/"


def names_in(folder: Path) -> list[str]:
    """Sorted names in a folder; none when it is not there."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def refusals(paths: pd.Series, well_formed: pd.Series, expected: str) -> pd.Series:
    """Reason for which each path of a table cannot be used; '' where it can.

    Symbolic links below the root are followed wherever they lead: large sets of images often lie on another disk.
    """
    slashed = paths.str.replace("\\", "/", regex=False)
    absolute = slashed.str.match(r"/|~|[A-Za-z]:")
    climbs = slashed.str.contains(r"(?:^|/)\.\.(?:/|$)")
    reasons = pd.Series("", index=paths.index, dtype="str")
    reasons = reasons.mask(~well_formed, f"expected {expected}")
    reasons = reasons.mask(climbs, "points outside the root: '..'")
    return reasons.mask(absolute, "points outside the root: an absolute path")


def packed(texts: Iterable[str]) -> pa.ChunkedArray:
    """Many texts in a quarter of the memory that they take as Python objects."""
    waiting = iter(texts)
    pieces = iter(lambda: list(islice(waiting, ROWS_AT_ONCE)), [])
    return pa.chunked_array([pa.array(piece, type=pa.large_string()) for piece in pieces], type=pa.large_string())


def existing(root: Path, paths: pd.Series) -> npt.NDArray[np.bool_]:
    """Which of the posix paths below ``root`` are files; a folder is listed once when many of its files are asked.

    Returns:
        (N,) bool, in the order of ``paths``.
    """
    codes, folders = pd.factorize(paths.str.replace(r"/?[^/]*$", "", regex=True))
    counts = np.bincount(codes, minlength=len(folders))
    order = np.argsort(codes, kind="stable")
    found, starts = np.zeros(len(paths), dtype=bool), np.cumsum(counts) - counts
    few = np.flatnonzero(counts[codes] < LIST_FROM)
    found[few] = [_is_file(f"{root}/{path}") for path in values_of(paths.iloc[few])]
    for code in map(int, np.flatnonzero(counts >= LIST_FROM)):
        places = order[starts[code] : starts[code] + counts[code]]
        names = pa.array(paths.iloc[places].str.replace(r"^.*/", "", regex=True), type=pa.large_string())
        found[places] = pc.is_in(names, value_set=packed(_files_in(f"{root}/{folders[code]}")))
    return found


def _is_file(path: str) -> bool:
    """Whether a file is there; an error where nobody may look, for which ``os.path.isfile`` says no."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 (Path.stat takes twice as long)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            return False
        raise


def _files_in(folder: str) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            # isfile, unlike the entry, answers no for a link that leads back to itself.
            if entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path):  # noqa: PTH113
                yield entry.name
