"""Check a dataset's folder: what its tables and images lack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from datasets.images import ImageError
from datasets.images.decode import decode_with_warnings
from datasets.sources.records import read_records

SAMPLED = 12
"""Images that are decoded, spread over the dataset."""


@dataclass(frozen=True, kw_only=True)
class RootFacts:
    """What reading a dataset's tables and some of its images told."""

    num_images: int
    num_patients: int
    tables: dict[str, int]
    """Rows by table."""
    refused: dict[str, int]
    """Rows that cannot be used, by reason; missing files are among them."""
    first_refused: str
    undecodable: list[str]
    """Sampled images that do not decode, with the reason."""
    doubtful: list[str]
    """Sampled images that perhaps do not decode to what they were meant to show, with the reason."""
    decoded: int
    official_leaks: list[str]
    """Patients that the dataset's own lists put into two splits."""
    phantom: bool


def check_root(dataset: str, root: Path) -> RootFacts:
    """Read the tables, look for every image, decode a few.

    Raises:
        InputError: when the tables are absent or cannot be read, or no image is there.
    """
    records = read_records(dataset, root)
    count = len(records.frame)
    chosen = np.unique(np.linspace(0, count - 1, min(SAMPLED, count)).astype(int))
    undecodable, doubtful = list[str](), list[str]()
    for path in (records.root / name for name in records.frame["path"].iloc[chosen]):
        try:
            doubtful += [f"{path}: {told}" for told in decode_with_warnings(path)[1]]
        except ImageError as error:
            undecodable.append(f"{path}: {error}")
    refused = records.rejects
    first = f"{refused['path'].iat[0]}: {refused['reason'].iat[0]}" if len(refused) else ""
    return RootFacts(
        num_images=count,
        num_patients=int(records.frame["patient"].nunique()),
        tables={table.name: table.num_rows for table in records.tables},
        refused={str(reason): int(n) for reason, n in refused["reason"].value_counts().items()},
        first_refused=first,
        undecodable=undecodable,
        doubtful=doubtful,
        decoded=len(chosen),
        official_leaks=_in_two_splits(records.frame),
        phantom=records.phantom,
    )


def _in_two_splits(frame: pd.DataFrame) -> list[str]:
    listed = frame.loc[frame["official_split"] != "", ["patient", "official_split"]].drop_duplicates()
    return sorted(map(str, listed["patient"][listed["patient"].duplicated()].unique()))
