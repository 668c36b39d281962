"""Read ChestX-ray14, whole or its 5,606-image Kaggle sample.

Of the table only 'Image Index', 'Finding Labels' and 'Patient ID' are needed. Images are found by their base name in
``images/``, ``images_001/images/`` to ``images_012/images/``, ``sample/images/``, or beside the table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from datasets.errors import InputError
from datasets.sources.cells import ages_in_years, finding_values, sexes
from datasets.sources.folders import below, find_home, packed, refusals, table_file
from datasets.sources.labels import CHESTXRAY14_LABELS
from datasets.sources.rows import DICOM_INSTEAD, SourceRows, source_rows
from datasets.sources.tables import SourceTable, Table, read_lines, read_table

WHOLE_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
"""The corrected release first: where both lie in one folder, it is the one that is read."""
SAMPLE_TABLES = ("sample_labels.csv",)
REQUIRED = ("Image Index", "Finding Labels", "Patient ID")
SEX_COLUMNS = ("Patient Sex", "Patient Gender")
OFFICIAL_LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
IMAGE_FOLDER = re.compile(r"images(_\d+)?|sample")
DEEPEST = 3
VIEWS = {"PA": "frontal", "AP": "frontal"}


def read_whole(root: Path, *, check_files: bool) -> SourceRows:
    """Rows of Data_Entry_2017*.csv, with the official train_val and test lists where they are there."""
    return _read(root, WHOLE_TABLES, check_files)


def read_sample(root: Path, *, check_files: bool) -> SourceRows:
    """Rows of sample_labels.csv; the zip holds every image twice, the copy nearer to the root is taken."""
    return _read(root, SAMPLE_TABLES, check_files)


def _read(root: Path, names: tuple[str, ...], check_files: bool) -> SourceRows:
    home = find_home(root, names, REQUIRED[:1])
    file = next(file for name in names if (file := table_file(home, name)) is not None)
    table = read_table(file, REQUIRED, [*SEX_COLUMNS, "Patient Age", "View Position"])
    columns, reasons = _columns(table)
    columns["official_split"], lists = _official_split(home, columns["name"])
    columns["path"] = _paths(root, home, columns["name"], check_files=check_files)
    values = finding_values(table, "Finding Labels", CHESTXRAY14_LABELS)
    looked_in = "images/, images_001/images/ and so on, sample/images/, and beside the table"
    rows = source_rows(table, columns, reasons, values, labels=CHESTXRAY14_LABELS, looked_in=looked_in)
    return replace(rows, tables=(table.source, *lists), instead=DICOM_INSTEAD)


def _columns(table: Table) -> tuple[dict[str, pd.Series], pd.Series]:
    """Common columns and, per row, the reason for refusing it; the patient is 'Patient ID' in eight digits."""
    frame = table.frame
    names = frame["Image Index"]
    table.check("Patient ID", r"\d{1,8}", "a number of up to 8 digits")
    patients = frame["Patient ID"].str.zfill(8)
    well_formed = names.str.fullmatch(r"\d{8}_\d{3}\.png")
    reasons = refusals(names, well_formed, "NNNNNNNN_NNN.png")
    strangers = (reasons == "") & (names.str.slice(0, 8) != patients)
    reasons = reasons.mask(strangers, "its first eight digits differ from 'Patient ID'")
    columns = {"raw": names, "name": names, "patient": patients, "study": names.str.slice(9, 12)}
    told = frame.get("View Position", pd.Series("", index=frame.index, dtype="str"))
    columns["view"] = told.str.upper().map(VIEWS).fillna("unknown")
    if "Patient Age" in frame:
        columns["age"] = ages_in_years(frame["Patient Age"])
    for column in SEX_COLUMNS:
        if column in frame:
            columns["sex"] = sexes(frame[column])
    return columns, reasons


def _official_split(home: Path, names: pd.Series) -> tuple[pd.Series, list[SourceTable]]:
    """'train' (which stands for train and validation), 'test' or '' of each image, and the lists that were read."""
    official = pd.Series("", index=names.index, dtype="str")
    sources = []
    for name, split in OFFICIAL_LISTS.items():
        file = table_file(home, name)
        if file is None:
            continue
        lines, source = read_lines(file)
        listed = names.isin(set(lines))
        twice = listed & (official != "")
        if twice.any():
            raise InputError(f"{file}: {names[twice].iloc[0]} is in the other official list too")
        official = official.mask(listed, split)
        sources.append(source)
    return official, sources


def _paths(root: Path, home: Path, names: pd.Series, *, check_files: bool) -> pd.Series:
    """Where each image lies below ``root``; where it would lie if it is nowhere, or if no folder may be listed."""
    prefixes, codes = [f"{below(root, home)}images/"], np.zeros(len(names), dtype=np.int16)
    wanted = pa.array(names, type=pa.large_string())
    for prefix, listed in _image_folders(root, home) if check_files else ():
        here = pc.is_in(wanted, value_set=listed).to_numpy(zero_copy_only=False)
        codes[here & (codes == 0)] = len(prefixes)
        prefixes.append(prefix)
    of_images: pd.Series = pd.Series(prefixes, dtype="str").iloc[codes].set_axis(names.index) + names
    return of_images


def _image_folders(root: Path, home: Path) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Folders below ``root``, each with its '/' and its images' names as PNGs; those with the fewest above first."""
    folders, seen = [home, root], set[Path]()
    for _ in range(DEEPEST + 1):
        deeper: list[Path] = []
        for folder in folders:
            if folder not in seen:
                seen.add(folder)
                children: list[Path] = []
                names = packed(_png_names(folder, children))
                if len(names):
                    yield below(root, folder), names
                deeper += sorted(children)
        folders = deeper


def _png_names(folder: Path, children: list[Path]) -> Iterator[str]:
    """Names of the images in a folder, as PNGs; folders in it that may hold more are added to ``children``."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((".png", ".dcm")):
                yield f"{entry.name[:-4]}.png"
            elif IMAGE_FOLDER.fullmatch(entry.name) and (folder / entry.name).is_dir():  # no for a link to itself
                children.append(folder / entry.name)
