"""Parse columns of text into label values, ages and sexes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from datasets.errors import InputError
from datasets.sources.labels import NO_FINDING, canonical
from datasets.sources.tables import Table, read_header, read_table

UNCERTAIN = -1
"""Label value of 'uncertain' in the tables and in ``SourceRows.values``."""
MISSING = -2
"""Value in ``SourceRows.values`` of a label that nobody gave: it is left out of loss and score, never negative."""

_BLANK = {"", "nan", "none", "null"}
_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "D": 1 / 365}
_LATERAL = r"LATERAL\b|.* LATERAL\b|LL?$|RL?$"
_FRONTAL = r"(?:AP|PA)(?:\b|_)"
_SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}


def named_parts(column: pd.Series, pattern: str) -> pd.DataFrame:
    """Named groups of a pattern (RE2 syntax) as text columns; missing in rows that the pattern does not match."""
    groups = pc.extract_regex(pa.array(column, type=pa.string()), pattern)
    names = [field.name for field in groups.type]
    parts: pd.DataFrame = pa.table([pc.struct_field(groups, name) for name in names], names=names).to_pandas()
    return parts.set_axis(column.index)


def label_columns(path: Path, header: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Columns of a table that hold ``labels``, in the order of ``labels``, whatever their spelling and order.

    Raises:
        InputError: when a label has no column, or two under different names.
    """
    found: dict[str, str] = {}
    for column in header:
        label = canonical(column)
        if label and label in found:
            raise InputError(f"{path}: columns {found[label]!r} and {column!r} are the same label; keep one")
        found[label] = column
    missing = [label for label in labels if label not in found]
    if missing:
        raise InputError(f"{path}: no column for the label {', '.join(missing)}; expected {', '.join(labels)}")
    return [found[label] for label in labels]


def parsed_cells(table: Table, column: str, parse: Callable[[str], list[int]], width: int) -> npt.NDArray[np.int8]:
    """(N, width) of what ``parse`` makes of each cell; every distinct text is parsed once."""
    codes, texts = pd.factorize(table.frame[column])
    lines = np.zeros((len(texts), width), dtype=np.int8)
    for line, text in enumerate(texts):
        try:
            lines[line] = parse(text)
        except InputError as error:
            row = int(table.frame.index[int(np.flatnonzero(codes == line)[0])])
            raise InputError(f"{table.where(row)}, column {column!r}: {error}") from None
    return lines[codes]


def read_label_table(
    path: Path, required: Sequence[str], labels: Sequence[str], optional: Sequence[str] = ()
) -> tuple[Table, npt.NDArray[np.int8]]:
    """Read a table that has a column for each label: its other columns, and (N, L) values of the labels."""
    columns = label_columns(path, read_header(path), labels)
    table = read_table(path, [*required, *columns], optional)
    return table, label_values(table, columns)


def label_values(table: Table, columns: Sequence[str]) -> npt.NDArray[np.int8]:
    """(N, L) of 1 positive, 0 negative or not mentioned (blank), -1 uncertain.

    Raises:
        InputError: naming row and column of the first cell that is none of these.
    """
    return np.hstack([parsed_cells(table, column, _label_value, 1) for column in columns])


def _label_value(text: str) -> list[int]:
    if text.lower() in _BLANK:
        return [0]
    with suppress(ValueError):
        if (value := float(text)) in (0.0, 1.0, float(UNCERTAIN)):
            return [int(value)]
    raise InputError(f"{text!r}; expected 1, 0, -1 (uncertain) or a blank")


def finding_values(table: Table, column: str, labels: Sequence[str]) -> npt.NDArray[np.int8]:
    """(N, L) of 1 and 0 from a column such as 'Edema|Mass': whole tokens between bars, 'No Finding' for none.

    Raises:
        InputError: naming the row of an unknown token, of a blank, or of 'No Finding' beside a finding.
    """
    return parsed_cells(table, column, partial(_finding_line, labels=labels), len(labels))


def _finding_line(text: str, labels: Sequence[str]) -> list[int]:
    known = ", ".join((*labels, NO_FINDING))
    if not text:
        raise InputError(f"blank; expected one or more of {known}, with '|' between")
    tokens = [token.strip() for token in text.split("|")]
    names = set(map(canonical, tokens))
    unknown = sorted(names - {*labels, NO_FINDING})
    if unknown:
        raise InputError(f"unknown label {unknown[0]!r}; known labels: {known}")
    if NO_FINDING in names and len(names) > 1:
        raise InputError(f"{text!r} says '{NO_FINDING}' beside a finding")
    return [int(label in names) for label in labels]


def ages_in_years(column: pd.Series) -> pd.Series:
    """Whole years as nullable Int16 from '60', '060Y', '011M' (months) or '013D' (days); missing where unreadable."""
    codes, texts = pd.factorize(column, use_na_sentinel=False)
    upper = pd.Series(texts, dtype="str").str.upper()
    parts = named_parts(upper, r"^(?P<number>\d{1,4})(?:\.0+)?(?P<unit>[YMD]?)$")
    years = pd.to_numeric(parts["number"]) * parts["unit"].map(_YEARS_PER_UNIT).fillna(1.0)
    return years.map(np.floor).astype("Int16").iloc[codes].set_axis(column.index)


def views(column: pd.Series) -> pd.Series:
    """'frontal', 'lateral' or 'unknown' from 'PA', 'AP_horizontal', 'LATERAL', 'L' and the like."""
    told = column.str.upper()
    frontal, lateral = told.str.match(_FRONTAL), told.str.match(_LATERAL)
    return pd.Series("unknown", index=column.index, dtype="str").mask(frontal, "frontal").mask(lateral, "lateral")


def one_value_each(table: Table, key: str, column: str) -> pd.Series:
    """The value of a column for each distinct key of a table that repeats it in equal rows; indexed by key.

    Raises:
        InputError: naming the first row whose value is another than that of the row above with its key.
    """
    distinct = table.frame[[key, column]].drop_duplicates()
    again = distinct[key].duplicated()
    if again.any():
        row = int(distinct.index[np.flatnonzero(again)[0]])
        told = f"{key} {distinct[key][row]} has {column} {distinct[column][row]!r}, but another one in a row above"
        raise InputError(f"{table.where(row)}: {told}")
    return distinct.set_index(key)[column]


def sexes(column: pd.Series) -> pd.Series:
    """'F' or 'M'; missing for anything else, such as 'Unknown'."""
    return column.str.lower().map(_SEXES).astype("str")
