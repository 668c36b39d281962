"""Read one CSV, plain or gzipped: its columns as text, row numbers and SHA-256.

Every cell stays text; a row with too few or too many cells is refused, and blank rows are passed over.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from datasets.errors import InputError
from datasets.files import read_file

GZIP_MAGIC = b"\x1f\x8b"
HEAD_BYTES = 1 << 20
BLOCK_BYTES = 16 << 20
ROWS_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class CsvForm:
    """How a CSV is written."""

    separator: str = ","
    encoding: str = "utf-8"
    header_line: int = 1
    """Line that names the columns; those above it are passed over."""
    multiline: bool = False
    """Whether a quoted cell may go over several lines; the row of a quote that is left open is then not known."""


@dataclass(frozen=True)
class SourceTable:
    """Which table was read: enough to tell one release of the labels from another."""

    name: str
    """File name, without its folder."""
    sha256: str
    """Of the bytes as they lie on disk, compressed or not."""
    num_rows: int
    """Rows below the header that are not blank."""


@dataclass(frozen=True)
class Table:
    """Some columns of one CSV, as text without surrounding blanks; '' where a cell is blank."""

    path: Path
    source: SourceTable
    frame: pd.DataFrame
    """The asked columns that the file has; its index is the row in the file, counted from 1 at its top."""

    def where(self, row: int) -> str:
        """Start of an error message about one row."""
        return f"{self.path}, row {row}"

    def first(self, chosen: pd.Series) -> int:
        """Row in the file of the first True of a mask over ``frame``."""
        return int(self.frame.index[int(np.flatnonzero(chosen)[0])])

    def check(self, column: str, pattern: str, expected: str) -> None:
        """Raise InputError at the first cell of a column that does not match a pattern."""
        bad = ~self.frame[column].str.fullmatch(pattern)
        if bad.any():
            row = self.first(bad)
            raise InputError(
                f"{self.where(row)}, column {column!r}: {self.frame[column][row]!r}; expected {expected}"
            )


def values_of(column: pd.Series) -> Iterator[Any]:
    """The values of a column as Python objects, a few thousand at a time: each takes 100 bytes while it lives."""
    for first in range(0, len(column), ROWS_AT_ONCE):
        yield from column.iloc[first : first + ROWS_AT_ONCE].tolist()


def read_header(path: Path, form: CsvForm = CsvForm()) -> list[str]:
    """Column names of a CSV, without surrounding blanks; '' for an unnamed column.

    Raises:
        InputError: when the file cannot be read, is empty, or names a column twice.
    """
    data = _decompress(path, read_file(path), HEAD_BYTES)
    data = _from_header_on(path, data, form, "strict" if len(data) < HEAD_BYTES else "ignore")
    return check_names(path, _first_records(path, data, 1, form)[0])


def read_table(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    form: CsvForm = CsvForm(),
) -> Table:
    """Read the required columns and those of the optional ones that are there.

    Args:
        path: a CSV, plain or gzipped.
        required: columns without which the table is refused.
        optional: columns that are read when the table has them.
        form: how the CSV is written.

    Raises:
        InputError: naming the file, and the row or the columns that are wrong.
    """
    raw = read_file(path)
    data = _from_header_on(path, _decompress(path, raw), form)
    records = _first_records(path, data, 2, form)
    header = check_names(path, records[0])
    missing = [name for name in required if name not in header]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(map(repr, missing))}; its columns are {', '.join(filter(None, header))}"
        )
    wanted = [*required, *(name for name in optional if name in header)]
    positions = [header.index(name) for name in wanted]
    frame = _parse(path, data, positions, _row_width(header, records), form)
    frame.columns = pd.Index(wanted)
    frame.index = pd.RangeIndex(form.header_line + 1, form.header_line + 1 + len(frame))
    frame = frame[(frame != "").any(axis=1)]
    return Table(path, SourceTable(path.name, hashlib.sha256(raw).hexdigest(), len(frame)), frame)


def read_lines(path: Path) -> tuple[list[str], SourceTable]:
    """Lines of a text file that are not blank, without surrounding blanks; the last may lack its newline."""
    raw = read_file(path)
    lines = list(filter(None, map(str.strip, _decode(path, _decompress(path, raw)).splitlines())))
    return lines, SourceTable(path.name, hashlib.sha256(raw).hexdigest(), len(lines))


def _decompress(path: Path, raw: bytes, limit: int = -1) -> bytes:
    """Text bytes of a file that may be gzipped whatever its name, with plain line ends; at most ``limit`` of them."""
    if raw.startswith(GZIP_MAGIC):
        try:
            raw = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(limit)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: not a whole gzip file ({error}); fetch it again") from None
    return raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in raw else raw


def _from_header_on(path: Path, data: bytes, form: CsvForm, errors: str = "strict") -> bytes:
    """A table in UTF-8, from the line on that names its columns."""
    if codecs.lookup(form.encoding).name != "utf-8":
        try:
            data = data.decode(form.encoding, errors).encode().replace(b"\r\n", b"\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not {form.encoding} text ({error})") from None
    return data.split(b"\n", form.header_line - 1)[-1]


def _decode(path: Path, data: bytes, errors: str = "strict") -> str:
    try:
        return data.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error})") from None


def _first_records(path: Path, data: bytes, count: int, form: CsvForm) -> list[list[str]]:
    head = _decode(path, data[:HEAD_BYTES], "strict" if len(data) < HEAD_BYTES else "ignore")
    try:
        records = list(islice(csv.reader(io.StringIO(head), delimiter=form.separator), count))
    except csv.Error as error:
        raise InputError(f"{path}: not a readable CSV table ({error}); a quote may be left open") from None
    if not records or not any(cell.strip() for cell in records[0]):
        raise InputError(f"{path}: empty; expected a CSV table whose first line names its columns")
    if any("\n" in cell for cell in records[0]):
        raise InputError(f"{path}: not a readable CSV table: a quote is left open in the line that names the columns")
    return records


def check_names(path: Path, record: Iterable[str]) -> list[str]:
    """Names of columns without surrounding blanks; InputError where one is there twice."""
    header = [cell.strip() for cell in record]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} is there twice; which one holds is unclear")
    return header


def _row_width(header: list[str], records: list[list[str]]) -> int:
    """Cells of a row: an unnamed last column may stand in the header alone, or in the rows alone."""
    first = records[1] if len(records) > 1 else header
    longer = len(first) == len(header) + 1 and first[-1] == ""
    shorter = len(first) == len(header) - 1 and header[-1] == ""
    return len(first) if longer or shorter else len(header)


def _parse(path: Path, data: bytes, positions: list[int], width: int, form: CsvForm) -> pd.DataFrame:
    ragged: list[Any] = []

    def note(row: Any) -> str:
        ragged.append(row)
        return "skip"

    names = [str(position) for position in range(width)]
    used = [names[position] for position in positions]
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(data),
            # One thread: only then does the parser know the number of a ragged row.
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, column_names=names, skip_rows=1, block_size=BLOCK_BYTES
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=form.separator,
                invalid_row_handler=note,
                ignore_empty_lines=False,
                newlines_in_values=form.multiline,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(used, pa.string()), strings_can_be_null=False, include_columns=used
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a readable CSV table ({str(error).splitlines()[0]})") from None
    if ragged:
        first, row = ragged[0], ragged[0].number + form.header_line - 1
        raise InputError(
            f"{path}, row {row}: {first.actual_columns} cells, expected {first.expected_columns}; "
            "the file may be cut short or its cells shifted"
        )
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if form.multiline and data.count(b'"') % 2:
        raise InputError(f"{path}: a quote is left open; the file may be cut short")
    if table.num_rows != lines - 1 and not form.multiline:
        raise InputError(f"{path}: {lines:,} lines but {table.num_rows + 1:,} rows; a quote may be left open")
    trimmed = [pc.utf8_trim_whitespace(table.column(name)) for name in used]
    frame: pd.DataFrame = pa.table(trimmed, names=used).to_pandas()
    return frame
