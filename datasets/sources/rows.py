"""The rows that every reader returns: its tables in one schema, before views, files and policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from datasets.sources.tables import SourceTable, Table

COLUMNS = ("path", "name", "patient", "study", "view", "official_split", "sex", "age")
DICOM_INSTEAD = ((r"\.[a-z]+$", ".dcm"),)
"""``SourceRows.instead`` of a dataset whose images may lie there as DICOM files of the same names."""
REJECT_COLUMNS = ("path", "reason", "table", "row")


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceRows:
    """Rows of one dataset's tables that name an image in the expected form."""

    labels: tuple[str, ...]
    """Canonical names, one for each column of ``values``."""
    frame: pd.DataFrame
    """Columns ``COLUMNS``, then ``table`` and ``row``, where each row came from, then attributes of this dataset."""
    values: npt.NDArray[np.int8]
    """(N, L): 1 positive, 0 negative or not mentioned, -1 uncertain, -2 missing."""
    tables: tuple[SourceTable, ...]
    looked_in: str
    """Where images are looked for, as the end of a sentence."""
    refused: pd.DataFrame
    """Rows whose path cannot be used, in ``REJECT_COLUMNS``."""
    instead: tuple[tuple[str, str], ...] = ()
    """Patterns in paths, each with what to put there, tried in turn for an image that has no file at its path."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason to number of images that the tables themselves leave out."""


def source_rows(
    table: Table,
    columns: Mapping[str, pd.Series | str],
    reasons: pd.Series,
    values: npt.NDArray[np.int8],
    *,
    labels: tuple[str, ...],
    looked_in: str,
) -> SourceRows:
    """Rows of a table in the common schema, those with a reason against them as rejects.

    Args:
        columns: the common columns that this source knows, a text where it is the same in all rows, and 'raw', the
            path as the table writes it; any others are kept as attributes.
        reasons: '' for a usable row.
        values: (N, L), one row for each of the table's.
    """
    index = table.frame.index
    told = {"sex": pd.Series(None, index=index, dtype="str"), "age": pd.Series(pd.NA, index=index), **columns}
    frame = pd.DataFrame({name: told.get(name, "") for name in COLUMNS}, index=index)
    frame = frame.astype({"sex": "str", "age": "Int16"})
    frame["table"] = table.source.name
    frame["row"] = index.to_numpy(dtype=np.int64)
    frame = frame.assign(**{name: columns[name] for name in columns if name not in (*COLUMNS, "raw")})
    bad = reasons != ""
    refused = pd.DataFrame({"path": columns["raw"], "reason": reasons, "table": frame["table"], "row": frame["row"]})
    return SourceRows(
        labels=labels,
        frame=frame[~bad] if bad.any() else frame,
        values=values[~bad.to_numpy()],
        tables=(table.source,),
        looked_in=looked_in,
        refused=refused[bad],
    )


def stack(parts: Sequence[SourceRows]) -> SourceRows:
    """Rows of several tables of one layout, one after another."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        frame=pd.concat([part.frame for part in parts], ignore_index=True),
        values=np.concatenate([part.values for part in parts]),
        tables=tuple(table for part in parts for table in part.tables),
        refused=pd.concat([part.refused for part in parts], ignore_index=True),
    )
