"""Guess a first spec from a folder of tables and images, with counts and doubts as comments."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from datasets.errors import InputError
from datasets.own_tables.dicom_folder import COMMON_TAGS, NUMBERED, UNREADABLE, is_dicom, read_dicom_folder
from datasets.own_tables.files import EXCEL, PARQUET, open_tables, sheet_names
from datasets.own_tables.spec import RESERVED, TableFile, cell_key
from datasets.sources.cells import ages_in_years
from datasets.sources.labels import canonical
from datasets.sources.registry import DATASETS

ABSOLUTE = re.compile(r"/|[A-Za-z]:/")
IMAGES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
TEXT_TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
SEPARATORS = (",", ";", "\t", "|")
MOST_WORDS, MOST_SITES = 200, 50
"""Different words of a column of labels, different values of an attribute."""
LEAST_JOINED = 0.5
"""Share of the main table's rows for which a second table must have a row."""
SAMPLED = 2000
"""Cells of a column that are compared with the names of images before it is looked through."""
ENOUGH = 0.9
"""Share of cells that a column must have of a kind to be taken for it."""

PATIENT = (
    r"(patient(en)?|paciente|subject|pat|pseudonym|mrn|pid|person)[ ._-]*(id|nr|no|nummer|number|key)?\.?|pseudonym.*"
)
STUDY = (
    r"(study|accession|exam|untersuchung)[ _-]?(id|uid|nr|no|number|instance ?uid)?|studyinstanceuid|accessionnumber"
)
AGE, LABELS = r".*\b(age|alter|edad|âge)\b.*|.*_age", r".*(label|finding|diagnos|befund|patholog).*"
SITE = r".*(site|hospital|device|scanner|manufacturer|institution|standort|klinik|gerät|geraet|model).*"
VIEWS = {
    "frontal": (
        *("PA", "AP", "frontal", "AP supine", "AP erect", "PA erect"),
        *("p.a.", "a.p.", "AP liegend", "a.p. liegend", "AP stehend", "PA stehend", "p.a. stehend"),
    ),
    "lateral": ("LL", "RL", "L", "lateral", "LAT", "left lateral", "right lateral", "seitlich"),
}
SEXES = {"female": ("F", "female", "W", "weiblich", "woman"), "male": ("M", "male", "männlich", "man")}
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "validate", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
CELLS = {
    "positive": frozenset(("1", "yes", "y", "true", "positive", "pos", "present", "ja", "j", "x", "oui", "si", "sí")),
    "negative": frozenset(("0", "no", "n", "false", "negative", "neg", "absent", "nein", "non")),
    "uncertain": frozenset(
        ("-1", "?", "uncertain", "unclear", "maybe", "possible", "vielleicht", "fraglich", "unklar")
    ),
    "missing": frozenset(("", "nan", "na", "n/a", "null", "none", "unknown", "unbekannt", "-")),
}
"""What cells of labels say, as ``cell_key`` writes it."""
NONE = (
    *("no finding", "no findings", "normal", "none", "nothing", "unremarkable", "ohne befund", "o.b."),
    *("kein befund", "keine"),
)


NO_JOIN = (0.0, 0, "", "")


class Found(NamedTuple):
    """A table of the folder, read whole."""

    entry: TableFile
    frame: pd.DataFrame

    @property
    def name(self) -> str:
        """As a comment names it."""
        return f"{self.entry.file} {self.entry.sheet}".rstrip() or "the DICOM headers"


class ImageColumn(NamedTuple):
    """A column that names images."""

    table: Found
    column: str
    text: str
    """As ``image.file`` says it: the column, or the column in braces and a suffix."""
    places: list[tuple[str, str]]
    """Of each image that it names the text, without the prefix, and the path."""
    prefix: str = ""
    """What stands before them in an absolute path."""


@dataclass
class Draft:
    """The columns of all tables by name, those that have a meaning so far, and the lines of the spec."""

    columns: dict[str, pd.Series]
    used: set[str]
    top: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def free(self) -> Iterator[tuple[str, pd.Series]]:
        """Columns without a meaning yet."""
        yield from ((name, cells) for name, cells in self.columns.items() if name not in self.used)

    def take(self, pattern: str) -> str | None:
        """The first free column whose name matches, which has a meaning from now on."""
        for name, cells in self.free():
            spaced = re.sub(r"([a-z])(?=[A-Z])", r"\1 ", " ".join(name.split()))
            if re.fullmatch(pattern, spaced, re.IGNORECASE) and (cells != "").any():
                self.used.add(name)
                return name
        return None


def guess_spec(folder: Path) -> str:
    """A spec in TOML for the tables and images below a folder, to be looked through by whoever knows them.

    Raises:
        InputError: when there is no such folder, no image in it, or no table that names its images.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    folder, notes = folder.resolve(), list[str]()
    images, paths = _look_through(folder, notes)
    if not images:
        raise InputError(f"{folder}: no image below it ({', '.join(IMAGES)})")
    found = list(_read_tables(folder, paths, notes))
    named = _image_column(folder, images, found, notes)
    main = named.table
    joins = list(_joins(main, [one for one in found if one is not main], notes))
    draft = Draft(_columns([main, *(one for one, _ in joins)]), {named.column})
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", folder.name).strip("._-")[:60] or "own"
    draft.top += [f"name = {_quoted(f'{name}_own' if name in DATASETS else name)}", f"root = {_quoted(str(folder))}"]
    _who(draft, named.column)
    draft.used |= {name for _, on in joins for pair in on.items() for name in pair}
    _tables(draft, main, joins)
    _image(draft, named)
    _what(draft)
    _labels(draft)
    head = (
        f"# A first spec, guessed from {folder}: look through every line that says CHECK.",
        f"# {len(images):,} images; the {len(main.frame):,} rows of {main.name} name {len(named.places):,} of them.",
    )
    return "\n".join([*head, *(f"# CHECK: {note}" for note in notes), "", *draft.top, *draft.parts]) + "\n"


def _look_through(folder: Path, notes: list[str]) -> tuple[list[str], list[Path]]:
    """Paths of images below the folder, and the tables; what else is there is noted."""
    images, tables, passed = list[str](), list[Path](), Counter[str]()
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path, lower = Path(place, name), name.lower()
            if lower.endswith(IMAGES) or is_dicom(path):
                images.append(path.relative_to(folder).as_posix())
            elif lower.endswith((*TEXT_TABLES, *EXCEL, *PARQUET)) and not name.startswith((".", "~$")):
                tables.append(path)
            else:
                passed[path.suffix] += 1
    if passed:
        kinds = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in passed.most_common(4))
        notes.append(f"files that are neither image nor table: {kinds}")
    return images, tables


def _read_tables(folder: Path, paths: Iterable[Path], notes: list[str]) -> Iterator[Found]:
    """The tables that can be read, each with all of its columns."""
    for path in paths:
        try:
            for entry in _forms(path, path.relative_to(folder).as_posix()):
                (opened,) = open_tables(entry, folder)
                frame = opened.read([name for name in opened.columns if name]).frame
                if len(frame):
                    yield Found(entry, frame)
        except (InputError, OSError) as error:
            notes.append(f"{path.relative_to(folder)} is not used: {error}")


def _forms(path: Path, file: str) -> list[TableFile]:
    """How a table is written: a CSV's encoding and the separator of its header, the sheets of a workbook."""
    if path.suffix.lower() in EXCEL:
        return [TableFile(file=file, sheet=sheet) for sheet in sheet_names(path)]
    if path.suffix.lower() in PARQUET:
        return [TableFile(file=file)]
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
        data = handle.read()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text, encoding = data.decode("cp1252", "replace"), "cp1252"
    header = text.partition("\n")[0]
    return [TableFile(file=file, encoding=encoding, separator=max(SEPARATORS, key=header.count))]


def _image_column(folder: Path, images: Sequence[str], tables: Sequence[Found], notes: Sequence[str]) -> ImageColumn:
    """The column that names most images, as path, file name or id; without one that of the DICOM headers.

    Raises:
        InputError: when no column names an image and the images are no DICOM files.
    """
    by_name: dict[str, list[str]] = {}
    for path in images:
        by_name.setdefault(PurePosixPath(path).name, []).append(path)
    suffixes = (NUMBERED.sub("", PurePosixPath(path).suffix) for path in images)
    endings = [ending for ending, _ in Counter(suffixes).most_common()]
    candidates = [
        (len(_named(_sampled(one.frame[column]), ending, by_name)), one, column, ending)
        for one in tables
        for column in map(str, one.frame)
        for ending in ("", *endings)
    ]
    best = max(candidates, key=lambda candidate: candidate[0], default=None)
    if best is not None and best[0]:
        _, one, column, ending = best
        text = "{" + column + "}" + ending if ending else column
        return ImageColumn(one, column, text, *_cut(_named(one.frame[column], ending, by_name)))
    if not {".dcm", ".dicom", ""}.issuperset(map(str.lower, endings)):
        looked = ", ".join(one.name for one in tables) or "none"
        told = "; ".join([f"tables: {looked}", *notes])
        raise InputError(f"{folder}: no table names its {len(images):,} images ({told})")
    headers = Found(TableFile(dicom="."), read_dicom_folder(folder, folder, ["file", *COMMON_TAGS]).frame)
    headers = headers._replace(frame=headers.frame.drop(columns=UNREADABLE))
    return ImageColumn(headers, "file", "file", [(path, path) for path in headers.frame["file"]])


def _sampled(cells: pd.Series) -> pd.Series:
    return cells.iloc[:: max(1, len(cells) // SAMPLED)]


def _named(cells: pd.Series, ending: str, by_name: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """What the distinct cells say with an ending behind, and the path of the image, of those that name one.

    An absolute path names the image with whose path its end has most in common.
    """
    names = cells.drop_duplicates().str.replace("\\", "/", regex=False).str.removeprefix("./") + ending
    tails = names.str.replace(r"^.*/", "", regex=True)
    names = names[tails.isin(by_name.keys())]
    found = []
    for name in names:
        paths = by_name[PurePosixPath(name).name]
        if ABSOLUTE.match(name):
            found.append((name, max(paths, key=lambda path: len(_common_end(name, path)))))
        else:
            found += [(name, path) for path in paths if f"/{path}".endswith(f"/{name}")][:1]
    return found


def _common_end(name: str, path: str) -> str:
    parts = zip(reversed(name.split("/")), reversed(path.split("/")), strict=False)
    return "/".join(reversed([one for one, _ in takewhile(lambda pair: pair[0] == pair[1], parts)]))


def _cut(places: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], str]:
    """The places without what most of their absolute paths begin with, and that."""
    begins = Counter(name.removesuffix(_common_end(name, path)) for name, path in places if ABSOLUTE.match(name))
    prefix = begins.most_common(1)[0][0] if begins else ""
    return [(name.removeprefix(prefix), path) for name, path in places if name.startswith(prefix)], prefix


def _image(draft: Draft, named: ImageColumn) -> None:
    """How a row names its image, and the folders in which these lie, of many the digits that count them as ``*``."""
    counts = Counter(path.removesuffix(name).rstrip("/") or "." for name, path in named.places)
    folders = sorted(counts, key=lambda folder: (folder.count("/"), folder))
    if len(folders) > 3:
        folders = list(dict.fromkeys(re.sub(r"\d+", "*", folder) for folder in folders))
    draft.parts += ["", "[image]", f"file = {_quoted(named.text)}"]
    draft.parts += [f"prefix = {_quoted(named.prefix)}"] * bool(named.prefix)
    draft.parts += [f"folders = {_list(folders)}"] * (folders != ["."])
    cells = named.table.frame[named.column]
    again, absent = int(cells.duplicated().sum()), cells.nunique() - len(named.places)
    draft.parts += [f"# CHECK: {again:,} rows name an image again; each may be there once"] * bool(again)
    draft.parts += [f"# CHECK: the files of {absent:,} images of the table were not found"] * bool(absent)


def _joins(main: Found, others: Iterable[Found], notes: list[str]) -> Iterator[tuple[Found, dict[str, str]]]:
    """The other tables that have one row for each value of a column of the main table, and by which columns."""
    for one in others:
        if set(one.frame) == set(main.frame):
            notes.append(f"{one.name} is not used: it has the columns of {main.name}; a file with * stands for both")
            continue
        keys = [name for name in one.frame if (one.frame[name] != "").all() and one.frame[name].is_unique]
        shares = [
            (float(cells.isin(one.frame[theirs]).mean()), cells.nunique(), str(ours), str(theirs))
            for theirs in keys
            for ours, cells in main.frame.items()
            if cells.nunique() > 1
        ]
        share, _, ours, theirs = max(shares, key=_promise, default=NO_JOIN)
        if share < LEAST_JOINED:
            notes.append(f"{one.name} is not used: no column of it has a row of its own for what {main.name} says")
            continue
        if share < 1.0:
            notes.append(f"{1 - share:.1%} of the images have no row in {one.name} and are refused (see unmatched)")
        yield one, {ours: theirs}


def _promise(pair: tuple[float, int, str, str]) -> tuple[bool, float, int]:
    """How much says that two columns are the same key: their name, then how many of the values are there."""
    share, values, ours, theirs = pair
    return ours == theirs and share >= LEAST_JOINED, share, values


def _columns(tables: Sequence[Found]) -> dict[str, pd.Series]:
    """The columns of all tables; one that two have is that of the first."""
    columns: dict[str, pd.Series] = {}
    for one in tables:
        columns |= {str(name): one.frame[name] for name in one.frame if name not in columns}
    return columns


def _tables(draft: Draft, main: Found, joins: Sequence[tuple[Found, Mapping[str, str]]]) -> None:
    """The ``[[tables]]``; a column that two have is taken from the first."""
    seen = set(main.frame)
    for (entry, frame), on in ((main, dict[str, str]()), *joins):
        key, place = ("dicom", entry.dicom) if entry.dicom else ("file", entry.file)
        draft.parts += ["", "[[tables]]", f"{key} = {_quoted(place)}  # {len(frame):,} rows"]
        draft.parts += [f"sheet = {_quoted(entry.sheet)}"] * bool(entry.sheet)
        draft.parts += [f"separator = {_quoted(entry.separator)}"] * (entry.separator != ",")
        draft.parts += [f"encoding = {_quoted(entry.encoding)}"] * (entry.encoding != "utf-8")
        for ours, theirs in on.items():
            draft.parts.append(f"on = {{ {_quoted(ours)} = {_quoted(theirs)} }}")
            if seen & set(frame) - {ours, theirs}:
                draft.parts.append(f"columns = {_list(map(str, (name for name in frame if name not in seen)))}")
            seen |= set(frame)


def _who(draft: Draft, image: str) -> None:
    """Patient, study and age."""
    patient = draft.take(PATIENT)
    if patient is None:
        draft.top.append('patient = "CHANGE ME"  # CHECK: no column looks like a patient; without one a split leaks')
    else:
        cells, width = draft.columns[patient], _padding(draft.columns[patient], draft.columns[image])
        text = f"{{{patient}:0{width}}}" if width else patient
        note = f", filled up to {width} digits as in {image}" if width else ""
        draft.top.append(f"patient = {_quoted(text)}  # CHECK: {cells[cells != ''].nunique():,} patients{note}")
    study = draft.take(STUDY)
    draft.top += [] if study is None else [f"study = {_quoted(study)}"]
    for name, cells in draft.free():
        if re.fullmatch(AGE, name, re.IGNORECASE) and ages_in_years(cells).notna().mean() > 0.5:
            draft.used.add(name)
            draft.top.append(f"age = {_quoted(name)}")
            break


def _padding(patients: pd.Series, images: pd.Series) -> int:
    """Digits with which every image's name begins, if they are its patient's number filled up with zeros; else 0."""
    if not patients.str.fullmatch(r"\d+").all() or not patients.index.equals(images.index):
        return 0
    starts = images.str.extract(r"(?:^|/)(\d+)[^/]*$")[0]
    widths = starts.str.len().unique()
    if starts.isna().any() or len(widths) != 1 or (patients == starts).all():
        return 0
    return int(widths[0]) if (patients.str.zfill(int(widths[0])) == starts).all() else 0


def _what(draft: Draft) -> None:
    """View, sex, split and attributes."""
    for key, words in (("view", VIEWS), ("sex", SEXES), ("split", SPLIT_WORDS)):
        column = _column_of(draft, words)
        if column is None:
            continue
        draft.used.add(column)
        counts = Counter(draft.columns[column])
        draft.parts += ["", f"[{key}]", f"column = {_quoted(column)}  # {_counts(counts)}"]
        for word, known in words.items():
            said = sorted(text for text in counts if cell_key(text) in set(map(cell_key, known)))
            draft.parts += [f"{word} = {_list(said)}"] * bool(said)
    sites = [
        (name, cells)
        for name, cells in draft.free()
        if re.fullmatch(SITE, name, re.IGNORECASE) and 1 <= cells[cells != ""].nunique() <= MOST_SITES
    ]
    draft.parts += ["", "[attributes]"] * bool(sites)
    for name, cells in sites:
        key = re.sub(r"\W+", "_", name.lower(), flags=re.ASCII).strip("_0123456789") or "site"
        draft.parts.append(f"{key}{'_own' * (key in RESERVED)} = {_quoted(name)}  # {_counts(Counter(cells))}")
        draft.used.add(name)


def _column_of(draft: Draft, words: Mapping[str, Iterable[str]]) -> str | None:
    """The free column that most says these words, if nearly all of its cells do."""
    known, best, share = {cell_key(word) for group in words.values() for word in group}, None, ENOUGH
    for name, cells in draft.free():
        told = cells[cells != ""]
        said = told.map(cell_key).isin(known).mean() if 1 <= told.nunique() <= MOST_SITES else 0.0
        if said > share or (said == share and best is None):
            best, share = name, float(said)
    return best


def _labels(draft: Draft) -> None:
    """The ``[[labels]]``: one column of words, and columns that say yes or no; then what has no meaning."""
    words, start = _word_column(draft), len(draft.parts)
    if words is not None:
        draft.used.add(words[0])
        draft.parts += _word_lines(*words)
    plain: list[str] = []
    only_yes: list[str] = []
    for name, cells in draft.free():
        keys = {cell_key(text) for text in cells.unique()}
        if (
            keys & (CELLS["positive"] | CELLS["uncertain"])
            and keys <= frozenset().union(*CELLS.values())
            and len(keys) > 1
        ):
            (plain if keys & (CELLS["negative"] | CELLS["uncertain"]) else only_yes).append(name)
    for names in (plain, only_yes):
        draft.parts += _cell_lines(draft, names, blank_is_no=names is only_yes) if names else []
    if len(draft.parts) == start:
        draft.parts += ["", "# CHECK: no column looks like labels", "[[labels]]", 'names = ["CHANGE ME"]']
    draft.used.update(plain, only_yes)
    rest = [name for name, _ in draft.free()]
    draft.parts += ["", f"# not used: {', '.join(rest)}"] * bool(rest)


def _cell_lines(draft: Draft, names: Sequence[str], *, blank_is_no: bool) -> list[str]:
    """A ``[[labels]]`` of columns that say yes or no, and what their cells say."""
    counts = {name: Counter(map(cell_key, draft.columns[name])) for name in names}
    said = {key for count in counts.values() for key in count}
    values = {kind: sorted(said & keys) for kind, keys in CELLS.items()}
    if blank_is_no:
        values = {**values, "negative": values["missing"], "missing": []}
    lines = ["", "[[labels]]", "names = ["]
    for name, count in counts.items():
        positives = sum(count[key] for key in CELLS["positive"])
        lines.append(f"    {_quoted(name)},  # {positives:,} positive")
    lines += ["]", *(f"{kind} = {_list(keys)}" for kind, keys in values.items())]
    if blank_is_no:
        return [*lines, "# CHECK: these columns say nothing but yes; a blank is taken for no"]
    check = '# CHECK: a blank is taken for missing; where it means no, move "" to negative'
    return [*lines, *[check] * ("" in values["missing"])]


def _word_column(draft: Draft) -> tuple[str, str, Counter[str]] | None:
    """The free column that holds the words of several labels, its separator, and how often each word is there."""
    yes_or_no = frozenset().union(*CELLS.values())
    for name, cells in draft.free():
        called = re.fullmatch(LABELS, name, re.IGNORECASE) is not None
        single = called and 2 <= cells.nunique() <= len(cells) / 2 and not yes_or_no.issuperset(map(cell_key, cells))
        for separator in ("|", ";", ",") if called else ("|",):
            if cells.str.contains(separator, regex=False).any() or (single and separator == ","):
                counts = Counter(word.strip() for cell in cells for word in cell.split(separator))
                words = [word for word in counts if word]
                texts = [word for word in words if cell_key(word) in NONE or re.search(r"[^\W\d_]{3}", word)]
                if texts and len(words) <= MOST_WORDS and len(texts) >= ENOUGH * len(words):
                    return name, separator, counts
    return None


def _word_lines(column: str, separator: str, counts: Counter[str]) -> list[str]:
    """A ``[[labels]]`` of words; if all are labels of a registered dataset, in its order and with those not seen."""
    none = [word for word in counts if cell_key(word) in NONE]
    found: dict[str, list[str]] = {}
    for word in counts:
        if word and word not in none:
            found.setdefault(canonical(word), []).append(word)
    known = (entry.labels for entry in DATASETS.values() if found.keys() <= set(entry.labels))
    lines = ["", "[[labels]]", f"column = {_quoted(column)}", f"separator = {_quoted(separator)}"]
    lines.append(f"none = {_list(none)}  # {sum(counts[word] for word in none):,} images")
    lines += [f'missing = [""]  # CHECK: {counts[""]:,} blanks' if counts[""] else "missing = []", "[labels.names]"]
    for label in next(known, tuple(sorted(found))):
        words = found.get(label, [label])
        said = _quoted(words[0]) if len(words) == 1 else _list(words)
        lines.append(f"{_quoted(label)} = {said}  # {sum(counts[word] for word in words):,} images")
    return lines


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{text or 'blank'} {count:,}" for text, count in counts.most_common(6))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"
