"""Read the tables of a spec into the rows of a dataset: joined, filtered, each cell understood or refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from datasets.errors import InputError, known_words
from datasets.own_tables.dicom_folder import UNREADABLE
from datasets.own_tables.files import OpenTable, open_tables
from datasets.own_tables.spec import LabelGroup, TableFile, TableSpec, Values, cell_key, fill, read_spec
from datasets.sources.cells import MISSING, UNCERTAIN, ages_in_years, named_parts
from datasets.sources.folders import below, existing, refusals
from datasets.sources.records import OwnDataset
from datasets.sources.rows import SourceRows, source_rows, stack
from datasets.sources.tables import Table

SHOWN = 60
"""Letters of a cell that a reason repeats."""


def open_spec(path: Path, root: Path | None = None) -> tuple[OwnDataset, Path]:
    """The dataset of a spec as ``read_records`` takes it, and its root: the one that is given, else the spec's.

    Raises:
        InputError: for a spec that cannot be used.
    """
    spec = read_spec(path)
    dataset = OwnDataset(name=spec.name, title=spec.title, read=partial(_read_rows, spec, path))
    return dataset, root or path.parent / Path(spec.root).expanduser()


def _read_rows(spec: TableSpec, where: Path, root: Path, *, check_files: bool) -> SourceRows:
    """Rows of the first table, with what the others say of them.

    Raises:
        InputError: when a table cannot be read, has no such column or none of the keys, or the filters leave nothing.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder of tables and images as root")
    opened = [open_tables(entry, root) for entry in spec.tables]
    try:
        places = _places(spec, [files[0] for files in opened])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    others = [
        (entry, [file.read(list(dict.fromkeys([*entry.on.values(), *wanted]))) for file in files])
        for entry, files, wanted in zip(spec.tables[1:], opened[1:], places[1:], strict=True)
    ]
    parts = [_read_one(spec, root, file.read(places[0]), others, check_files=check_files) for file in opened[0]]
    dropped: dict[str, int] = {}
    for part in parts:
        dropped |= {reason: dropped.get(reason, 0) + count for reason, count in part.dropped.items()}
    if not any(len(part.frame) + len(part.refused) for part in parts):
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        raise InputError(f"{opened[0][0].path}: no row is left ({left_out or 'it has none'})")
    tables = (*(part.tables[0] for part in parts), *(table.source for _, tables in others for table in tables))
    return replace(stack(parts), tables=tables, dropped=dropped)


def _places(spec: TableSpec, tables: Sequence[OpenTable]) -> list[list[str]]:
    """Columns to read from each table.

    Raises:
        InputError: for a column that no table has, or that two have.
    """
    groups, known = spec.image.groups, [name for table in tables for name in table.columns if name]
    keys = [(f"tables[{number}].on", key) for number, entry in enumerate(spec.tables, start=1) for key in entry.on]
    joining = {name for entry in spec.tables for pair in entry.on.items() for name in pair}
    found: list[list[str]] = [[] for _ in tables]
    for key, column in (*spec.uses(), *keys):
        having = [number for number, table in enumerate(tables) if table.has(column)]
        if column in groups and having:
            raise InputError(f"image.pattern: {column!r} is a column already; call the group otherwise")
        if not having and column not in groups:
            raise InputError(f"{key}: no column {column!r}; {known_words(column, dict.fromkeys([*known, *groups]))}")
        if len(having) > 1 and column not in joining:
            both = " and ".join(tables[number].path.name for number in having[:2])
            raise InputError(f"{key}: column {column!r} is in {both}; name the columns to take from one of them")
        if having and column not in found[having[0]]:
            found[having[0]].append(column)
    return found


def _read_one(
    spec: TableSpec,
    root: Path,
    table: Table,
    others: Sequence[tuple[TableFile, list[Table]]],
    *,
    check_files: bool,
) -> SourceRows:
    frame, dropped = table.frame, dict[str, int]()
    reasons = frame[UNREADABLE] if UNREADABLE in frame else pd.Series("", index=frame.index, dtype="str")
    for entry, tables in others:
        frame, found = _join(table, frame, entry, tables)
        alone = f"no row in {tables[0].path.name}"
        if entry.unmatched == "drop" and not found.all():
            dropped[alone] = int((~found).sum())
            frame, reasons = frame[found], reasons[found]
        else:
            reasons = reasons.mask(~found & (reasons == "").to_numpy(), alone)
    frame, files, fitting = _with_image(spec, frame)
    keep = _filter(spec, frame, (reasons == "").to_numpy(), dropped)
    if not keep.all():
        frame, files, fitting, reasons = frame[keep], files[keep], fitting[keep], reasons[keep]
    values, unnamed = _values(spec.labels, frame)
    for more in (fitting, _no_patient(spec, frame), unnamed):
        reasons = reasons.mask(reasons == "", more)
    columns = {"raw": files, "name": files, "path": _paths(spec, root, files, check_files=check_files)}
    rows = source_rows(
        Table(table.path, table.source, frame),
        {**columns, **_columns(spec, frame)},
        reasons,
        values,
        labels=spec.label_names,
        looked_in=" and ".join(folder if folder != "." else "the root" for folder in spec.image.folders),
    )
    return replace(rows, dropped=dropped)


def _with_image(spec: TableSpec, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """The frame with the pattern's groups, each row's image below one of the folders, and why it cannot be used."""
    image, named = fill(spec.image.file, frame)
    files = image.str.replace("\\", "/", regex=False).str.removeprefix(spec.image.prefix.replace("\\", "/"))
    files = files.str.replace(r"^(?:\./)+", "", regex=True)
    fits = pd.Series(True, index=frame.index)
    if spec.image.pattern:
        pattern = f"^(?:{spec.image.pattern})$"
        texts = pa.array(files, type=pa.string())
        fits &= pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
        if spec.image.groups:
            frame = pd.concat([frame, named_parts(files, pattern).fillna("")], axis=1)
    reasons = refusals(files, fits, f"a path of the form {spec.image.pattern}")
    return frame, files, reasons.mask(~named, "no image is named")


def _no_patient(spec: TableSpec, frame: pd.DataFrame) -> pd.Series:
    named = fill(spec.patient, frame)[1]
    return pd.Series("", index=frame.index, dtype="str").mask(~named, "no patient is named")


def _join(
    left: Table, frame: pd.DataFrame, entry: TableFile, tables: Sequence[Table]
) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """The frame with the columns of a table's matching rows, and (N,) whether there is one.

    Raises:
        InputError: when a key is there twice, or none of them is there at all.
    """
    right = pd.concat([table.frame for table in tables], ignore_index=True)
    theirs, ours = right[list(entry.on.values())], frame[list(entry.on)]
    filled = (theirs != "").all(axis=1).to_numpy()
    again = theirs.duplicated().to_numpy() & filled
    named = ", ".join(entry.on.values())
    if again.any():
        at = int(np.flatnonzero(again)[0])
        number = int(np.searchsorted(np.cumsum([len(table.frame) for table in tables]), at, side="right"))
        row = tables[number].frame.index[at - sum(len(table.frame) for table in tables[:number])]
        told = ", ".join(theirs.iloc[at])
        raise InputError(f"{tables[number].where(row)}: {named} = {told!r} has a row already; expected one for each")
    right, theirs = right[filled], theirs[filled]
    at_right = np.asarray(_index(theirs).get_indexer(_index(ours)), dtype=np.int64)
    found = at_right >= 0
    if len(frame) and not found.any():
        some = ", ".join(map(repr, (*ours.iloc[:1].to_numpy().ravel(), *theirs.iloc[:1].to_numpy().ravel())))
        raise InputError(
            f"{tables[0].path}: none of its {len(right):,} rows is of an image of {left.path.name} by {named} "
            f"(compared are texts such as {some})"
        )
    places = np.where(found, at_right, len(right))
    blank = pd.concat([right, pd.DataFrame([[""] * right.shape[1]], columns=right.columns, dtype="str")])
    new = [column for column in right if column not in frame]
    added = blank[new].iloc[places].set_axis(frame.index)
    return pd.concat([frame, added], axis=1), found


def _index(keys: pd.DataFrame) -> pd.Index:
    return (
        pd.Index(keys.iloc[:, 0])
        if keys.shape[1] == 1
        else pd.MultiIndex.from_frame(keys.set_axis(range(keys.shape[1]), axis=1))
    )


def _filter(
    spec: TableSpec, frame: pd.DataFrame, usable: npt.NDArray[np.bool_], dropped: dict[str, int]
) -> npt.NDArray[np.bool_]:
    """(N,) whether the filters keep each row; how many usable ones they leave out is added to ``dropped``."""
    kept = np.ones(len(frame), dtype=bool)
    for wanted, filters, word in ((True, spec.keep, "none"), (False, spec.drop, "one")):
        for column, values in filters.items():
            passes = (_is_one_of(frame[column], values) == wanted) | ~usable
            if not passes[kept].all():
                dropped[f"{column} is {word} of {', '.join(map(str, values))}"] = int((kept & ~passes).sum())
            kept &= passes
    return kept


def _is_one_of(column: pd.Series, values: Values) -> npt.NDArray[np.bool_]:
    """(N,) whether each cell says one of the values."""
    codes, texts = pd.factorize(column)
    keys = set(map(cell_key, values))
    return np.array([cell_key(text) in keys for text in texts], dtype=bool)[codes]


def _columns(spec: TableSpec, frame: pd.DataFrame) -> dict[str, pd.Series]:
    """What the columns say of each row beside its image and its labels; attributes are among it."""
    columns = {"patient": fill(spec.patient, frame)[0]}
    if spec.study:
        columns["study"] = fill(spec.study, frame)[0]
    if spec.age:
        columns["age"] = ages_in_years(fill(spec.age, frame)[0])
    if spec.view is not None:
        told = {"frontal": spec.view.frontal, "lateral": spec.view.lateral}
        columns["view"] = _mapped(frame[spec.view.column], told).fillna("unknown")
    if spec.sex is not None:
        columns["sex"] = _mapped(frame[spec.sex.column], {"F": spec.sex.female, "M": spec.sex.male})
    if spec.split is not None:
        told = {"train": spec.split.train, "validation": spec.split.validation, "test": spec.split.test}
        columns["official_split"] = _mapped(frame[spec.split.column], told).fillna("")
    return columns | {name: fill(text, frame)[0] for name, text in spec.attributes.items()}


def _mapped(column: pd.Series, words: dict[str, Values]) -> pd.Series:
    """The word whose values a cell is one of; missing for others."""
    known = {cell_key(value): word for word, values in words.items() for value in values}
    codes, texts = pd.factorize(column)
    found = pd.Series([known.get(cell_key(text)) for text in texts], dtype="str")
    return found.iloc[codes].set_axis(column.index)


def _paths(spec: TableSpec, root: Path, names: pd.Series, *, check_files: bool) -> pd.Series:
    """Where each image lies below the root: in the first folder that has it, or would lie, in the first of all."""
    folders = [
        below(root, folder)
        for pattern in spec.image.folders
        for folder in (sorted(root.glob(pattern)) if "*" in pattern else [root / pattern])
        if folder.is_dir()
    ]
    prefixes = list(dict.fromkeys(folders)) or [f"{spec.image.folders[0].strip('/')}/"]
    paths = prefixes[0] + names
    if not check_files or len(prefixes) == 1:
        return paths
    absent = np.flatnonzero(~existing(root, paths))
    for prefix in prefixes[1:]:
        there = existing(root, prefix + names.iloc[absent])
        paths.iloc[absent[there]] = prefix + names.iloc[absent[there]]
        absent = absent[~there]
    return paths


def _values(groups: Sequence[LabelGroup], frame: pd.DataFrame) -> tuple[npt.NDArray[np.int8], pd.Series]:
    """(N, L) values of all labels, and the reason for refusing each row, '' where the spec names all that it says."""
    blocks, reasons = [], pd.Series("", index=frame.index, dtype="str")
    for group in groups:
        for column in [group.column] if group.column else [words[0] for words in group.words.values()]:
            codes, texts = pd.factorize(frame[column])
            lines, wrong = (_word_lines if group.column else _cell_lines)(group, list(texts))
            blocks.append(lines[codes])
            if any(wrong):
                told = pd.Series([f"column {column!r} says {why}" * bool(why) for why in wrong], dtype="str")
                reasons = reasons.mask(reasons == "", told.iloc[codes].set_axis(frame.index))
    return np.hstack(blocks), reasons


def _unnamed(text: str) -> str:
    return f"{text[:SHOWN]!r}, which the spec does not name"


def _cell_lines(group: LabelGroup, texts: Sequence[str]) -> tuple[npt.NDArray[np.int8], list[str]]:
    """(T, 1) value of each distinct text, and what is wrong with it, '' for nothing."""
    kinds = {"positive": 1, "negative": 0, "uncertain": UNCERTAIN, "missing": MISSING}
    meaning = {cell_key(value): number for kind, number in kinds.items() for value in getattr(group, kind)}
    found = [meaning.get(cell_key(text)) for text in texts]
    wrong = [_unnamed(text) if value is None else "" for text, value in zip(texts, found, strict=True)]
    return np.array([value or 0 for value in found], dtype=np.int8).reshape(-1, 1), wrong


def _word_lines(group: LabelGroup, texts: Sequence[str]) -> tuple[npt.NDArray[np.int8], list[str]]:
    """(T, L) values of each distinct text of words with separators between, and what is wrong with it."""
    place = {cell_key(word): at for at, words in enumerate(group.words.values()) for word in words}
    none, ignored, missing = (set(map(cell_key, words)) for words in (group.none, group.ignore, group.missing))
    lines = np.zeros((len(texts), len(group.words)), dtype=np.int8)
    wrong = [""] * len(texts)
    for line, text in enumerate(texts):
        if cell_key(text) in missing - none:
            lines[line] = MISSING
            continue
        words = {cell_key(word): word.strip() for word in text.split(group.separator)}
        found = [place[key] for key in words if key in place]
        lines[line, found] = 1
        unnamed = (
            [] if "*" in group.ignore else [words[key] for key in words if key not in place.keys() | none | ignored]
        )
        if unnamed:
            wrong[line] = _unnamed(unnamed[0])
        elif found and none & words.keys():
            wrong[line] = f"{text[:SHOWN]!r}, no finding beside a finding"
    return lines, wrong
