"""Read CheXpert-v1.0 and CheXpert-v1.0-small: train.csv, and valid.csv when it is there.

The two tables are pooled, as the 223,648 images of the paper are; ``official_split`` tells them apart. Images lie
beside the tables in ``train/`` and ``valid/``, or, as the AIMI archives unpack, in ``CheXpert-v1.0 batch N (...)``
folders that hold ``valid/`` or the patients' folders directly.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from datasets.sources.cells import ages_in_years, named_parts, read_label_table, sexes
from datasets.sources.folders import below, find_home, names_in, refusals, table_file
from datasets.sources.labels import CHEXPERT_LABELS
from datasets.sources.rows import DICOM_INSTEAD, SourceRows, source_rows, stack

TABLES = ("train.csv", "valid.csv")
PREFIX = r"CheXpert-v1\.0(?:-small)?/"
PATH = (
    rf"^(?:{PREFIX})?(?P<split>train|valid)/patient(?P<patient>\d{{5}})"
    r"/study(?P<study>\d+)/view\d+_(?P<view>frontal|lateral)\.jpg$"
)
EXPECTED = "CheXpert-v1.0/train/patientNNNNN/studyN/viewN_frontal.jpg or the like"
OFFICIAL = {"train": "train", "valid": "validation"}


def read(root: Path, *, check_files: bool) -> SourceRows:
    """Rows of train.csv and, when it is there, valid.csv; patients are the five digits of the path.

    Raises:
        InputError: when train.csv is not found, or a table lacks a column or holds an unknown label value.
    """
    home = find_home(root, TABLES[:1], ["Path"])
    files = [file for name in TABLES if (file := table_file(home, name)) is not None]
    places = _PatientFolders(root, home) if check_files else None
    return stack([_read_one(file, below(root, home), places) for file in files])


def _read_one(file: Path, prefix: str, places: _PatientFolders | None) -> SourceRows:
    table, values = read_label_table(file, ["Path"], CHEXPERT_LABELS, ["Sex", "Age", "Frontal/Lateral"])
    raw = table.frame["Path"]
    parts = named_parts(raw, PATH)
    names = raw.str.replace(rf"^{PREFIX}", "", regex=True)
    columns = {"raw": raw, "name": names, **{name: parts[name] for name in ("patient", "study", "view")}}
    columns["path"] = prefix + names if places is None else places.paths(names, parts)
    columns["official_split"] = parts["split"].map(OFFICIAL)
    if "Frontal/Lateral" in table.frame:
        told = table.frame["Frontal/Lateral"].str.lower()
        columns["view"] = told.where(told.isin(["frontal", "lateral"]), parts["view"])
    if "Sex" in table.frame:
        columns["sex"] = sexes(table.frame["Sex"])
    if "Age" in table.frame:
        columns["age"] = ages_in_years(table.frame["Age"])
    reasons = refusals(raw, parts["patient"].notna(), EXPECTED)
    looked_in = "train/ and valid/ beside the tables and in 'CheXpert-v1.0*' folders"
    rows = source_rows(table, columns, reasons, values, labels=CHEXPERT_LABELS, looked_in=looked_in)
    return replace(rows, instead=DICOM_INSTEAD)


class _PatientFolders:
    """Where each patient's folder lies: found by listing a few folders, not by asking for every image."""

    def __init__(self, root: Path, home: Path) -> None:
        batches = sorted({*root.glob("CheXpert-v1.0*"), *home.glob("CheXpert-v1.0*")})
        # The tables' own folder first: where a patient lies twice, the copy beside the tables is taken.
        self._places: dict[tuple[str, str], str] = {}
        self._home = below(root, home)
        for base in dict.fromkeys([home, root, *batches]):
            for split in OFFICIAL:
                for folder in (base / split, base):
                    for name in names_in(folder):
                        if name.startswith("patient"):
                            self._places.setdefault((split, name), below(root, folder))

    def paths(self, names: pd.Series, parts: pd.DataFrame) -> pd.Series:
        """Path of each image below the root; that beside the tables where the patient's folder is not found."""
        rest = names.str.replace(r"^(?:train|valid)/", "", regex=True)
        patients = "patient" + parts["patient"].fillna("")
        fallback = (self._home + split + "/" for split in parts["split"].fillna(""))
        keys = zip(parts["split"], patients, fallback, strict=True)
        found = [self._places.get((split, patient), default) for split, patient, default in keys]
        return pd.Series(found, index=names.index, dtype="str") + rest
