"""Write and read split manifests, CSV files that anyone can check and share.

The first line is a comment, ``# {...}``: one JSON object with dataset, split settings, counts and the SHA-256 of the
source tables. Then ``path,patient,split,subset_rank``, one line an image, sorted. ``path`` is the image's name
within its dataset (``Records.frame["name"]``), the same for every copy, so that a manifest fits wherever images lie.
"""

from __future__ import annotations

import codecs
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datasets.errors import InputError
from datasets.files import read_file, replacing
from datasets.sources.labels import SPLITS
from datasets.sources.records import Records
from datasets.sources.tables import CsvForm, read_table
from datasets.splits.split import NOT_RANKED, SplitConfig

FORMAT = "cxr-harness split manifest"
VERSION = 1
COLUMNS = ("path", "patient", "split", "subset_rank")


def write_manifest(
    path: Path, records: Records, splits: npt.NDArray[Any], ranks: npt.NDArray[np.int64], config: SplitConfig
) -> None:
    """Write the manifest whole; ``config`` says how splits and ranks were made, for its first line."""
    columns = (records.frame["name"], records.frame["patient"], splits, ranks)
    frame = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True))).sort_values("path", ignore_index=True)
    check_manifest(path, frame)
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as handle:
        handle.write(f"# {json.dumps(_header(records, frame, config))}\n")
        frame.to_csv(handle, index=False, lineterminator="\n")


def _header(records: Records, frame: pd.DataFrame, config: SplitConfig) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "dataset": records.dataset,
        **split_settings(config),
        "views": records.views,
        "images": {split: int((frame["split"] == split).sum()) for split in SPLITS},
        "patients": {split: frame["patient"][frame["split"] == split].nunique() for split in SPLITS},
        "tables": [dataclasses.asdict(table) for table in records.tables],
    }


def split_settings(config: SplitConfig) -> dict[str, Any]:
    """How splits and subsets were made, as plain JSON values; of the file of test ids its name alone."""
    test_ids = None if config.test_ids is None else config.test_ids.name
    split = {"kind": config.kind, "seed": config.seed_of_split, "test_ids": test_ids}
    return {"split": split, "subset_seed": config.seed_of_subsets}


def read_manifest(path: Path) -> pd.DataFrame:
    """Read and check a manifest, with or without its comment line.

    Returns:
        Columns path, patient, split (str) and subset_rank (int64); ``attrs["header"]`` holds the comment's values.

    Raises:
        InputError: not a manifest, an image twice, a patient in two splits, ranks that are not 0 to n-1.
    """
    header = _read_comment(path)
    table = read_table(path, COLUMNS, form=CsvForm(header_line=2 if header else 1))
    frame = table.frame
    ranks = pd.to_numeric(frame["subset_rank"], errors="coerce")
    bad = ranks.isna() | (ranks % 1 != 0) | (ranks < NOT_RANKED)
    if bad.any():
        row = table.first(bad)
        raise InputError(f"{table.where(row)}: subset_rank {frame['subset_rank'][row]!r}; expected a whole number")
    frame = frame.assign(subset_rank=ranks.astype(np.int64)).reset_index(drop=True)
    check_manifest(path, frame)
    frame.attrs["header"] = header
    return frame


def _read_comment(path: Path) -> dict[str, Any]:
    first = read_file(path).partition(b"\n")[0].removeprefix(codecs.BOM_UTF8)
    if not first.startswith(b"#"):
        return {}
    try:
        header = json.loads(first[1:])
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(f"{path}: its first line is not a split manifest's; write one with 'cxr split'")
    if header.get("version") != VERSION:
        raise InputError(f"{path}: manifest version {header.get('version')!r}; this program reads version {VERSION}")
    return header


def check_manifest(path: Path, frame: pd.DataFrame) -> None:
    """Check what every manifest promises.

    Raises:
        InputError: an unknown split, an image twice, a patient in two splits, ranks that are not 0 to n-1 over train.
    """
    unknown = sorted(set(frame["split"]) - set(SPLITS))
    if unknown:
        raise InputError(f"{path}: unknown split {unknown[0]!r}; known: {', '.join(SPLITS)}")
    again = frame["path"].duplicated()
    if again.any():
        raise InputError(f"{path}: {frame['path'][again].iloc[0]} is listed twice")
    parts = frame.groupby("patient")["split"].nunique()
    if (parts > 1).any():
        raise InputError(f"{path}: patient {parts.idxmax()} is in more than one split")
    train = (frame["split"] == "train").to_numpy()
    ranks = frame["subset_rank"].to_numpy()
    whole = np.array_equal(np.sort(ranks[train]), np.arange(train.sum()))
    if not whole or (ranks[~train] != NOT_RANKED).any():
        raise InputError(f"{path}: subset_rank must be 0 to n-1 over the train images and {NOT_RANKED} elsewhere")


def apply_manifest(records: Records, frame: pd.DataFrame) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Splits and ranks of the records from a manifest that ``read_manifest`` gave.

    Returns:
        (N,) of str and (N,) int64, in the order of ``records.frame``.

    Raises:
        InputError: another dataset's manifest, images that only one of the two has, or other patient ids.
    """
    dataset = frame.attrs.get("header", {}).get("dataset", records.dataset)
    if dataset != records.dataset:
        raise InputError(f"the manifest is of {dataset}, the images are of {records.dataset}")
    names = records.frame["name"]
    at = pd.Index(frame["path"].to_numpy(dtype=object)).get_indexer(names.to_numpy(dtype=object))
    unlisted = names[at < 0]
    if len(unlisted):
        raise InputError(
            f"{len(unlisted):,} images are not in the manifest, such as {unlisted.iloc[0]}; "
            "was it made with other views or tables?"
        )
    absent = frame["path"].drop(frame.index[at])
    if len(absent):
        raise InputError(
            f"{len(absent):,} images of the manifest are not among the records, such as {absent.iloc[0]}; "
            f"{len(records.rejects):,} rows were refused and {sum(records.dropped.values()):,} left out"
        )
    ordered = frame.iloc[at]
    others = ordered["patient"].to_numpy() != records.frame["patient"].to_numpy()
    if others.any():
        first = int(np.flatnonzero(others)[0])
        told, read = ordered["patient"].iloc[first], records.frame["patient"].iloc[first]
        raise InputError(f"{names.iloc[first]}: patient {told} in the manifest, {read} in the tables")
    return ordered["split"].to_numpy(dtype=np.str_), ordered["subset_rank"].to_numpy(dtype=np.int64)
