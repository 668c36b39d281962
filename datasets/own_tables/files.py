"""Open a table whatever its format: its column names at once, its cells as text when they are asked for."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from datasets.errors import InputError, known_words
from datasets.files import regular, sha256_file
from datasets.own_tables.dicom_folder import COMMON_TAGS, is_tag, read_dicom_folder
from datasets.own_tables.spec import TableFile
from datasets.sources.tables import CsvForm, SourceTable, Table, check_names, read_header, read_table

EXCEL = (".xlsx", ".xlsm")
PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class OpenTable:
    """A table whose columns are known and whose rows are not read yet."""

    path: Path
    columns: tuple[str, ...]
    """Of a folder of DICOM files the common ones."""
    read: Callable[[Sequence[str]], Table]
    """Reads some of the columns; InputError names what is wrong with the file."""
    dicom: bool = False

    def has(self, column: str) -> bool:
        """Whether a column can be read."""
        return column in self.columns or (self.dicom and is_tag(column))


def open_tables(entry: TableFile, root: Path) -> list[OpenTable]:
    """The files of one ``[[tables]]`` entry, by name.

    Raises:
        InputError: when there is none, or the column names of one cannot be read.
    """
    if entry.dicom:
        folder = root / entry.dicom
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        return [OpenTable(folder, ("file", *COMMON_TAGS), partial(read_dicom_folder, folder, root), dicom=True)]
    paths = sorted(root.glob(entry.file)) if "*" in entry.file else [root / entry.file]
    if not paths:
        raise InputError(f"{root}: no file matches {entry.file!r}")
    return [_open(path, entry) for path in paths]


def _open(path: Path, entry: TableFile) -> OpenTable:
    regular(path)
    if path.suffix.lower() in PARQUET:
        columns = tuple(check_names(path, map(str, _parquet_names(path))))
        return _chosen(OpenTable(path, columns, partial(_read_parquet, path)), entry)
    if path.suffix.lower() in EXCEL:
        sheet = _read_sheet(path, entry)
        columns = tuple(check_names(path, map(_text, sheet.iloc[0])))
        sheet = sheet.iloc[1:].set_axis(pd.Index(columns), axis=1)
        return _chosen(OpenTable(path, columns, partial(_typed_table, path, sheet)), entry)
    form = CsvForm(
        separator=entry.separator, encoding=entry.encoding, header_line=entry.header, multiline=entry.multiline
    )
    return _chosen(OpenTable(path, tuple(read_header(path, form)), partial(_read_csv, path, form)), entry)


def _chosen(table: OpenTable, entry: TableFile) -> OpenTable:
    """The table with the columns that the spec takes from it."""
    for column in (*entry.columns, *entry.on.values()):
        if column not in table.columns:
            known = known_words(column, filter(None, table.columns))
            raise InputError(f"{table.path}: no column {column!r}; {known}")
    if not entry.columns:
        return table
    taken = tuple(dict.fromkeys((*entry.columns, *entry.on.values())))
    return OpenTable(table.path, taken, table.read)


def _read_csv(path: Path, form: CsvForm, columns: Sequence[str]) -> Table:
    """A CSV in which 12.0 is 12, as in the other formats: else a patient written in both ways would be two."""
    table = read_table(path, columns, form=form)
    for name, cells in table.frame.items():
        pointed = cells.str.fullmatch(r"-?\d+\.0+")
        if pointed.any():
            table.frame[name] = cells.mask(pointed, cells.str.replace(r"\.0+$", "", regex=True))
    return table


def _parquet_names(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names: list[str] = pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    return names


def _read_parquet(path: Path, columns: Sequence[str]) -> Table:
    import pyarrow as pa

    try:
        frame = pd.read_parquet(path, columns=list(columns), dtype_backend="pyarrow")
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    return _typed_table(path, frame.set_axis(pd.RangeIndex(1, len(frame) + 1)), columns)


@contextmanager
def _workbook(path: Path) -> Iterator[pd.ExcelFile]:
    try:
        with pd.ExcelFile(path, engine="openpyxl") as book:
            yield book
    except ImportError:
        raise InputError(f"{path}: Excel needs openpyxl: pip install 'cxr-harness[excel]'") from None
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise InputError(f"{path}: not a readable Excel workbook ({error})") from None


def sheet_names(path: Path) -> list[str]:
    """The sheets of an Excel workbook."""
    with _workbook(path) as book:
        return list(map(str, book.sheet_names))


def _read_sheet(path: Path, entry: TableFile) -> pd.DataFrame:
    """The cells of a sheet from the row of column names on; its index is the row in the sheet."""
    with _workbook(path) as book:
        if entry.sheet and entry.sheet not in book.sheet_names:
            raise InputError(
                f"{path}: no sheet {entry.sheet!r}; {known_words(entry.sheet, map(str, book.sheet_names))}"
            )
        sheet: pd.DataFrame = pd.read_excel(
            book, sheet_name=entry.sheet or 0, header=None, dtype=object, na_filter=False
        )
    sheet = sheet.set_axis(pd.RangeIndex(1, len(sheet) + 1)).iloc[entry.header - 1 :]
    if sheet.empty or not any(map(_text, sheet.iloc[0])):
        raise InputError(f"{path}: row {entry.header} is empty; expected the names of the columns")
    return sheet


def _typed_table(path: Path, typed: pd.DataFrame, columns: Sequence[str]) -> Table:
    """A table from cells of any type, its rows numbered by the frame's index."""
    frame = pd.DataFrame({name: cells_as_text(path, typed[name]) for name in columns}, index=typed.index)
    frame = frame[(frame != "").any(axis=1)]
    return Table(path, SourceTable(path.name, sha256_file(path), len(frame)), frame)


def cells_as_text(path: Path, column: pd.Series) -> pd.Series:
    """Cells of any type as text: whole numbers without a point, dates as 2020-12-31, '' for nothing."""
    try:
        codes, values = pd.factorize(column)
    except (TypeError, NotImplementedError):  # of pandas, and of pyarrow
        raise InputError(f"{path}, column {str(column.name)!r}: holds lists; expected one value a cell") from None
    texts = pd.Series([*map(_text, values), ""], dtype="str")
    cells: pd.Series = texts.iloc[codes].set_axis(column.index)  # nothing has the code -1, the last
    return cells


def _text(value: Any) -> str:
    if value is None or value is pd.NaT:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, datetime):
        return value.isoformat().removesuffix("T00:00:00")
    return str(value).strip()
