"""Describe a dataset of one's own, a spec in TOML: its tables, where its images lie, and what their columns mean."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from datasets.errors import InputError, check, known_words
from datasets.files import KnownKeysOnly, read_toml
from datasets.sources.labels import canonical
from datasets.sources.registry import DATASETS, WELL_FORMED

Scalar = str | int | float | bool
Values = tuple[Scalar, ...]
"""What a cell may say, as the spec writes it: ``1``, ``"1"`` and ``"1.0"`` are the same, and letter case is."""

ATTRIBUTE = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
RESERVED = (
    *("index", "path", "name", "patient", "study", "view", "split", "subset_rank", "crc32", "sex", "age"),
    *("official_split", "table", "row", "raw", "dataset"),
)
"""Columns of the samples table, and of records, that no attribute may be called."""
_FIELD = re.compile(r"\{([^{}]+?)(?::0(\d{1,2}))?\}")
_WHOLE = re.compile(r"(-?\d+)\.0+")


def cell_key(value: Scalar) -> str:
    """What two cells have in common that say the same: no case, no surrounding blanks, 1.0 is 1."""
    text = " ".join(str(value).split()).casefold()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _check_below(key: str, path: str) -> None:
    place = PurePosixPath(path)
    outside = place.is_absolute() or ".." in place.parts or path.startswith("~")
    check(bool(path) and not outside, f"{key} = {path!r} must lie below the root")


@dataclass(frozen=True, kw_only=True)
class TableFile(KnownKeysOnly):
    """One table: a CSV, Parquet or Excel file, several of one layout, or the headers of a folder of DICOM files."""

    file: str = ""
    """Path below the root; with ``*``, all files that match, one below the other."""
    dicom: str = ""
    """Instead of a file: a folder below the root. Each DICOM image in it is a row, its columns are keywords such as
    ``PatientID``, tags such as ``0010,0020``, and ``file``, the path below the root."""
    sheet: str = ""
    """Of an Excel workbook; the first by default."""
    separator: str = ","
    encoding: str = "utf-8"
    header: int = 1
    """Line or row that names the columns; what is above is passed over. A Parquet file needs none."""
    multiline: bool = False
    """Whether a quoted cell of a CSV may go over several lines, as reports do."""
    columns: tuple[str, ...] = ()
    """The only columns that are taken from this table; by default all."""
    on: dict[str, str] = field(default_factory=dict)
    """Of a second or later table: column of the tables above = column here; the latter has each value once."""
    unmatched: Literal["refuse", "drop"] = "refuse"
    """Images for which this table has no row are refused, or left out on purpose."""

    def __post_init__(self) -> None:
        """One kind of table, below the root, in a form that can be read."""
        check(bool(self.file) != bool(self.dicom), "give either file or dicom")
        _check_below("file" if self.file else "dicom", self.file or self.dicom)
        check(len(self.separator) == 1, f"separator = {self.separator!r} must be one character")
        check(self.header >= 1, f"header = {self.header} must be at least 1")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"encoding = {self.encoding!r} is unknown; try utf-8, cp1252 or utf-16") from None


@dataclass(frozen=True, kw_only=True)
class ImageFiles(KnownKeysOnly):
    """Where the image of a row lies."""

    file: str
    """Its path: a column, or a text with columns in braces, as ``{Year}/{ImageID}.png``."""
    prefix: str = ""
    """What is cut off the front of the path, as ``D:/export/`` of absolute ones."""
    folders: tuple[str, ...] = (".",)
    """Folders below the root in which it is looked for, in this order; ``*`` stands for any name."""
    pattern: str = ""
    """What such a path looks like, a regular expression in RE2's syntax; others are refused. Its named groups, as
    ``(?P<number>\\d+)``, can be used like columns."""

    def __post_init__(self) -> None:
        """Folders below the root, and a pattern that can be compiled."""
        check(len(self.folders) > 0, "folders must name at least one folder")
        for folder in self.folders:
            _check_below("folders", folder)
        try:
            pc.match_substring_regex(pa.array([""]), self.pattern)  # RE2 lacks some of what Python has
            re.compile(self.pattern)
        except (re.error, pa.ArrowInvalid) as error:
            raise ValueError(f"pattern = {self.pattern!r} is no regular expression ({error})") from None

    @property
    def groups(self) -> tuple[str, ...]:
        """Named groups of the pattern, in order."""
        return tuple(re.compile(self.pattern).groupindex)


@dataclass(frozen=True, kw_only=True)
class ViewColumn(KnownKeysOnly):
    """Which projection an image is; other values are an unknown view."""

    column: str
    frontal: Values = ("PA", "AP", "frontal")
    lateral: Values = ("LL", "RL", "lateral")


@dataclass(frozen=True, kw_only=True)
class SexColumn(KnownKeysOnly):
    """The patient's sex; other values are missing."""

    column: str
    female: Values = ("F", "female")
    male: Values = ("M", "male")


@dataclass(frozen=True, kw_only=True)
class SplitColumn(KnownKeysOnly):
    """The dataset's own split, for ``--split official``; images with other values have none."""

    column: str
    train: Values = ("train",)
    validation: Values = ("validation", "valid", "val")
    test: Values = ("test",)


@dataclass(frozen=True, kw_only=True)
class LabelGroup(KnownKeysOnly):
    """Labels that are written alike: one column each, or all in one column with a separator between."""

    names: Any = ()
    """A list of labels that the table calls by their names, or a table of label = column or word; of words in one
    column also a list of them."""
    column: str = ""
    """The one column that holds the words; without it each label has a column of its own."""
    separator: str = "|"
    none: Values = ()
    """Words for no finding in that column."""
    ignore: Values = ()
    """Other words of that column that are passed over; ``*`` passes all over that are not named."""
    positive: Values = (1,)
    negative: Values = (0,)
    uncertain: Values = (-1,)
    missing: Values = ("",)
    """Cells that say nothing: the label is left out of loss and score."""

    def __post_init__(self) -> None:
        """At least one label, and no value or word of two meanings."""
        listed = isinstance(self.names, list | tuple | Mapping) and len(self.names) > 0
        sound = listed and all(isinstance(name, str) for name in self.names)
        check(sound, "names: expected a list of labels, or a table of label = column or word")
        names = list(map(canonical, self.names))
        check(len(set(names)) == len(names), f"names: {max(names, key=names.count)} is there twice")
        for label, words in self.words.items():
            check(all(isinstance(word, str) for word in words), f"names.{label}: expected a text")
            check(bool(self.column) or len(words) == 1, f"names.{label}: a label has one column")
        kinds = ("none", "ignore") if self.column else ("positive", "negative", "uncertain", "missing")
        seen = {cell_key(word): label for label, words in self.words.items() for word in words if self.column}
        for kind in kinds:
            for value in getattr(self, kind):
                other = seen.setdefault(cell_key(value), kind)
                check(other == kind, f"{value!r} is both {other} and {kind}")
        check(bool(self.separator), "separator must not be blank")

    @cached_property
    def words(self) -> dict[str, tuple[str, ...]]:
        """Canonical label to its column, or to its words in the one column."""
        named = self.names if isinstance(self.names, Mapping) else {name: name for name in self.names}
        return {
            canonical(label): tuple(words) if isinstance(words, list | tuple) else (words,)
            for label, words in named.items()
        }


@dataclass(frozen=True, kw_only=True)
class TableSpec(KnownKeysOnly):
    """A dataset of one's own."""

    name: str
    """The dataset's name in configs, grids, commands and file names."""
    title: str = ""
    """Its name in reports; by default ``name``."""
    root: str = ""
    """The folder of tables and images, relative to the spec's own; by default the latter."""
    tables: tuple[TableFile, ...]
    """The first has one row for each image."""
    image: ImageFiles
    patient: str
    """Whom splits keep together: a column, or a text with columns in braces, as ``{Site}-{PatientID:08}``, where
    ``:08`` fills up with zeros to 8 digits."""
    study: str = ""
    """Column or text, as ``patient``."""
    age: str = ""
    """Column of years, or of texts such as ``060Y`` and ``011M``."""
    view: ViewColumn | None = None
    sex: SexColumn | None = None
    split: SplitColumn | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    """What else is kept of each image, as ``site = "Hospital"``: name = column or text."""
    labels: tuple[LabelGroup, ...]
    keep: dict[str, Values] = field(default_factory=dict)
    """Column = the values with which an image is kept."""
    drop: dict[str, Values] = field(default_factory=dict)
    """Column = values with which it is left out."""

    def __post_init__(self) -> None:
        """A name of its own, joined tables, labels that are there once."""
        check(bool(WELL_FORMED.fullmatch(self.name)), f"name = {self.name!r}: expected letters, digits, . _ and -")
        check(self.name not in DATASETS, f"name = {self.name!r} is a registered dataset; choose another")
        check(len(self.tables) > 0, "tables: expected at least one [[tables]]")
        for number, table in enumerate(self.tables, start=1):
            joined = bool(table.on) == (number > 1)
            check(joined, f"tables[{number}].on: the tables below the first have it, and only they")
        for name in self.attributes:
            free = bool(ATTRIBUTE.fullmatch(name)) and name not in RESERVED
            check(free, f"attributes.{name}: expected letters, digits and _, and none of {', '.join(RESERVED)}")
        names = self.label_names
        check(len(names) > 0, "labels: expected at least one [[labels]]")
        twice = sorted({name for name in names if names.count(name) > 1})
        check(not twice, f"labels: {', '.join(twice)} is there twice")
        check(bool(fields_of(self.image.file)), "image.file: expected a column, alone or in braces")
        check(bool(fields_of(self.patient)), "patient: expected a column, alone or in braces")

    @property
    def label_names(self) -> tuple[str, ...]:
        """Canonical names in the order of the targets."""
        return tuple(label for group in self.labels for label in group.words)

    def uses(self) -> Iterator[tuple[str, str]]:
        """Every column that is read, behind the key that names it; those of ``on`` are not among them."""
        texts = {"image.file": self.image.file, "patient": self.patient, "study": self.study, "age": self.age}
        texts |= {f"attributes.{name}": text for name, text in self.attributes.items()}
        for key in ("view", "sex", "split"):
            part = getattr(self, key)
            texts |= {} if part is None else {f"{key}.column": "{" + part.column + "}"}
        yield from ((key, column) for key, text in texts.items() for column in fields_of(text))
        for number, group in enumerate(self.labels, start=1):
            if group.column:
                yield f"labels[{number}].column", group.column
            else:
                yield from ((f"labels[{number}].names", words[0]) for words in group.words.values())
        yield from ((key, column) for key in ("keep", "drop") for column in getattr(self, key))


def fields_of(text: str) -> list[str]:
    """Columns of a text with columns in braces; the text itself where it has none."""
    return [match[1] for match in _FIELD.finditer(text)] or [text] * bool(text)


def fill(text: str, frame: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The text of each row with its columns filled in, and whether none of them is blank."""
    if not _FIELD.search(text):
        text = "{" + text + "}"
    filled, whole, end = pd.Series("", index=frame.index, dtype="str"), pd.Series(True, index=frame.index), 0
    for match in _FIELD.finditer(text):
        cells = frame[match[1]]
        whole &= cells != ""
        filled = filled + text[end : match.start()] + (cells.str.zfill(int(match[2])) if match[2] else cells)
        end = match.end()
    return filled + text[end:], whole


def read_spec(path: Path) -> TableSpec:
    """Read and check a spec.

    Raises:
        InputError: naming the key and what is wrong with it; of an unknown key also the known ones.
    """
    from pydantic import TypeAdapter, ValidationError

    values = json.dumps(read_toml(path, "spec"), default=str)
    try:
        spec: TableSpec = TypeAdapter(TableSpec).validate_json(values, strict=True)
    except ValidationError as error:
        # One line: of several, a key that is misspelt explains the one that is missing.
        first = min(error.errors(), key=lambda item: item["type"] != "unexpected_keyword_argument")
        raise InputError(f"{path}: {_explain(first)}") from None
    return spec


_PARTS: dict[str, type] = {
    "tables": TableFile,
    "image": ImageFiles,
    "view": ViewColumn,
    "sex": SexColumn,
    "split": SplitColumn,
    "labels": LabelGroup,
}
_KINDS = ("str", "int", "float", "bool")
"""What pydantic adds to the place of a value that may be of several types."""


def _explain(error: Any) -> str:
    """The place of an error as the file writes it, and what is wrong there."""
    place, words = "", str(error["msg"]).removeprefix("Value error, ")
    for part in error["loc"]:
        if isinstance(part, int):
            place += f"[{part + 1}]"
        elif part not in _KINDS:
            place += f".{part}" if place else part
    if error["type"] == "unexpected_keyword_argument":
        key, top = str(error["loc"][-1]), [item.name for item in dataclasses.fields(TableSpec)]
        owner = _PARTS.get(str(error["loc"][0]), TableSpec) if len(error["loc"]) > 1 else TableSpec
        words = f"unknown key; {known_words(key, (item.name for item in dataclasses.fields(owner)))}"
        if owner is not TableSpec and key in top:
            words = f"unknown key; {key} of the whole dataset stands above the first [table]"
    elif error["type"] in ("missing", "missing_keyword_only_argument"):
        words = "is missing"
    elif error["type"] != "value_error" and len(repr(error["input"])) < 60:
        words += f", found {error['input']!r}"
    return f"{place}: {words}" if place else words
