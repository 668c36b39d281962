"""Read a dataset's tables and look for its files: one frame and one target matrix, whatever the dataset."""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from datasets.errors import InputError, one_line
from datasets.sources.cells import MISSING, UNCERTAIN
from datasets.sources.folders import existing
from datasets.sources.labels import IGNORED, POSITIVE, Uncertain, Views
from datasets.sources.registry import Reader, dataset_entry
from datasets.sources.rows import COLUMNS, REJECT_COLUMNS, SourceRows
from datasets.sources.tables import SourceTable

PHANTOM_MARK = "PHANTOM.json"
"""A dataset folder that holds a file of this name holds made-up images; whatever is computed from it says so."""

SHOWN = 5
"""Refused images that are named when there are too many."""
CATEGORIES = ("view", "official_split", "sex")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """One row an image, the same columns for every dataset.

    Rows of the image tables = ``len(frame)`` + ``len(rejects)`` + the sum of ``dropped``.
    """

    dataset: str
    """Its name in ``datasets.sources.registry``."""
    root: Path
    labels: tuple[str, ...]
    """Canonical label names, one for each column of ``targets``."""
    frame: pd.DataFrame
    """RangeIndex, sorted by ``path``, so that nothing depends on the order of the tables. Columns, text but for age:

    path (posix, below root: the file), name (the image within its dataset, the same wherever a copy lies), patient,
    study, view (frontal | lateral | unknown), official_split ('' | train | validation | test), sex (F | M | missing),
    age (years, Int16 | missing), then attributes of this dataset, such as site. view, official_split, sex and the
    attributes are categories, which take a byte an image.
    """
    targets: npt.NDArray[np.uint8]
    """(N, L): 1 positive, 0 negative, 255 left out of the loss."""
    tables: tuple[SourceTable, ...]
    rejects: pd.DataFrame
    """Rows left out one by one because something is wrong: path, reason, table, row."""
    dropped: dict[str, int]
    """Reason to number of images left out on purpose: views, studies without labels."""
    table_patients: Sequence[str] | pd.Series = ()
    """Every patient of the tables, sorted: also those whose images were filtered or are missing."""
    uncertain: Uncertain = "zero"
    uncertain_at: npt.NDArray[np.bool_] | None = None
    """(N, L) which labels the tables call uncertain; None where none is."""
    views: Views = "all"
    phantom: bool = False
    """Whether the images are made up."""
    title: str = ""
    """Of a dataset that is not registered: its name in reports."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Columns of the frame that this dataset has beyond the common ones."""
        return tuple(str(name) for name in self.frame if name not in COLUMNS)

    @property
    def patients(self) -> tuple[str, ...]:
        """Patients to split. Those of the tables, so that a view filter or a lost file moves no other patient."""
        named = self.table_patients if len(self.table_patients) else sorted(set(self.frame["patient"]))
        return tuple(named)


@dataclass(frozen=True, kw_only=True)
class OwnDataset:
    """A dataset that is not registered, such as one that a spec describes."""

    name: str
    read: Reader
    title: str = ""


def read_records(
    dataset: str | OwnDataset,
    root: Path,
    *,
    uncertain: Uncertain = "zero",
    views: Views = "all",
    check_files: bool = True,
) -> Records:
    """Read a dataset's tables and, with ``check_files``, look for its images.

    Args:
        dataset: a name in ``datasets.sources.registry``, or a dataset of one's own.
        root: the dataset's folder or its parent; the tables are found below it.
        uncertain: what -1 becomes.
        views: 'frontal' and 'lateral' drop the other images and those whose view is unknown.
        check_files: False reads the tables alone; ``path`` is then where an image would lie.

    Raises:
        InputError: tables not found or not readable, an unknown label, an image listed twice, no image found at all.
    """
    root = Path(root)
    if isinstance(dataset, str):
        dataset = OwnDataset(name=dataset, read=pkgutil.resolve_name(dataset_entry(dataset).reader))
    rows = dataset.read(root, check_files=check_files)
    _check_listed_once(rows)
    frame, values, rejects, dropped = rows.frame, rows.values, rows.refused, dict(rows.dropped)
    # Of 400,000 images each copy takes 100 MB, and mostly nothing is left out.
    keep = _in_view(frame["view"], views)
    if not keep.all():
        dropped |= {f"view is {name}": n for name, n in frame["view"][~keep].value_counts().sort_index().items()}
        frame, values = frame[keep], values[keep]
    if check_files:
        frame, present = _find_files(root, rows, frame)
        if not present.all():
            missing = frame[~present].assign(reason="no such file")
            rejects = pd.concat([rejects, missing[list(REJECT_COLUMNS)]])
            frame, values = frame[present], values[present]
    if not frame["path"].is_monotonic_increasing:
        order = frame["path"].array.argsort(kind="stable")
        frame, values = frame.iloc[order], values[order]
    attributes = frame.columns[len(COLUMNS) + 2 :].tolist()
    categories = dict.fromkeys((*CATEGORIES, *attributes), "category")
    uncertain_at = values == UNCERTAIN
    return Records(
        dataset=dataset.name,
        title=dataset.title,
        root=root,
        labels=rows.labels,
        frame=frame[[*COLUMNS, *attributes]].reset_index(drop=True).astype(categories),
        targets=np.ascontiguousarray(to_targets(values, uncertain)),
        tables=rows.tables,
        rejects=rejects.sort_values(["path", "table", "row"], ignore_index=True),
        dropped=dropped,
        table_patients=rows.frame["patient"].drop_duplicates().sort_values(ignore_index=True),
        uncertain=uncertain,
        uncertain_at=uncertain_at if uncertain_at.any() else None,
        views=views,
        phantom=_is_phantom(root, frame["path"]),
    )


class RejectGuard:
    """Stops work on a dataset of which more images are refused than may be."""

    def __init__(self, records: Records, max_rejects: float, *, stop_at_first: bool = False) -> None:
        """Count the rows that the tables' reader refused; ``max_rejects`` is a fraction of all images."""
        if not 0.0 <= max_rejects <= 1.0:
            raise InputError(f"max_rejects = {max_rejects} is a fraction and must lie in 0..1")
        self._root, self._max_rejects, self._stop_at_first = records.root, max_rejects, stop_at_first
        self._found: list[str] = []
        self._total = len(records.frame) + len(records.rejects)
        for path, reason, table, row in records.rejects[list(REJECT_COLUMNS)].itertuples(index=False):
            self.add(str(path), f"{reason} ({table}, row {row})")

    def __len__(self) -> int:
        return len(self._found)

    def add(self, path: str, reason: str) -> None:
        """Count one more refused image.

        Raises:
            InputError: if it is one too many; the first few are logged.
        """
        self._found.append(f"{one_line(path)}: {reason}")
        if self._stop_at_first:
            raise InputError(f"{one_line(self._root / path)}: {reason} (--on-error reject leaves such images out)")
        if len(self._found) <= self._max_rejects * self._total:
            return
        for refused in self._found[:SHOWN]:
            logger.warning(refused)
        raise InputError(
            f"{self._root}: {len(self._found):,} of {self._total:,} images cannot be used so far, more than "
            f"--max-rejects {self._max_rejects:g} allows; the last: {self._found[-1]}"
        )


def _is_phantom(root: Path, paths: pd.Series[str]) -> bool:
    """Whether the mark lies in ``root`` or on the way from it to the first image."""
    above = PurePosixPath(paths.iloc[0]).parents if len(paths) else ()
    return any((root / folder / PHANTOM_MARK).is_file() for folder in (PurePosixPath(), *above))


def to_targets(values: npt.NDArray[np.int8], uncertain: Uncertain) -> npt.NDArray[np.uint8]:
    """(N, L) of 1, 0, -1, -2 to (N, L) of 1, 0, 255 under a policy for -1; -2, a missing label, is always 255.

    Raises:
        InputError: for an unknown policy.
    """
    policies = {"zero": 0, "one": POSITIVE, "ignore": IGNORED}
    if uncertain not in policies:
        raise InputError(f"uncertain = {uncertain!r} is unknown; known: {', '.join(policies)}")
    table = np.zeros(256, dtype=np.uint8)
    table[[POSITIVE, UNCERTAIN, MISSING]] = POSITIVE, policies[uncertain], IGNORED
    return table[values.astype(np.uint8)]


def _check_listed_once(rows: SourceRows) -> None:
    frame = rows.frame
    if frame.empty:
        first = f"; the first: {rows.refused.iloc[0]['reason']}" if len(rows.refused) else ""
        tables = ", ".join(table.name for table in rows.tables)
        raise InputError(f"{tables}: no row names an image that can be used ({len(rows.refused)} refused{first})")
    again = frame[frame["name"].duplicated(keep=False)]
    if len(again):
        name = again["name"].iloc[0]
        places = again[again["name"] == name]
        listed = ", ".join(f"{table} row {row}" for table, row in zip(places["table"], places["row"], strict=True))
        more = again["name"].nunique() - 1
        others = f", and {more:,} other images are listed twice" if more else ""
        raise InputError(f"{name} is listed more than once ({listed}){others}; keep one row an image")


def _in_view(view: pd.Series, views: Views) -> npt.NDArray[np.bool_]:
    """(N,) whether each image is of the projections that are kept."""
    if views not in get_args(Views):
        raise InputError(f"views = {views!r} is unknown; known: {', '.join(get_args(Views))}")
    keep = np.asarray((view == views) | (views == "all"), dtype=bool)
    if not keep.any():
        raise InputError(f"views = {views!r}: none of the {len(view):,} images is {views}; use all")
    return keep


def _find_files(root: Path, rows: SourceRows, frame: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """The rows with the paths of the files that are there, and (N,) whether there is one."""
    present = existing(root, frame["path"])
    for pattern, other in rows.instead:
        lost = np.flatnonzero(~present)
        places = frame["path"].iloc[lost].str.replace(pattern, other, regex=True)
        found = existing(root, places)
        if found.any():
            present[lost[found]] = True
            paths = frame["path"].copy()
            paths.iloc[lost[found]] = places[found]
            frame = frame.assign(path=paths)
    if len(frame) and not present.any():
        raise InputError(
            f"{root}: none of the {len(frame):,} images of the tables was found; looked in {rows.looked_in}, "
            f"for example for {root / frame['path'].iloc[0]}"
        )
    return frame, present
