"""Read MIMIC-CXR, JPG 2.0.0 or the v1 layout.

JPG 2.0.0 labels studies, so label rows are joined to images by (subject_id, study_id). Its label columns are
alphabetical, v1's are not and say 'Airspace Opacity': both are mapped by name to the order of ``CHEXPERT_LABELS``.

Sex, age and race come from MIMIC-IV's tables, where the user has them.

The original release has the same folders with DICOM files in them, and no labels: put the tables of JPG 2.0.0 beside
its ``files/``. Each image is read from its .jpg where there is one, else from its .dcm. Its name within the dataset
ends in .jpg either way, so that splits, subsets and manifests are the same for both releases.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from datasets.errors import InputError
from datasets.sources.cells import named_parts, read_label_table, views
from datasets.sources.folders import below, find_home, needed_file, refusals, table_file
from datasets.sources.labels import CHEXPERT_LABELS
from datasets.sources.readers.mimic_patients import patient_columns
from datasets.sources.rows import DICOM_INSTEAD, SourceRows, source_rows, stack
from datasets.sources.tables import SourceTable, Table, read_table

LABELS, METADATA, SPLIT = (f"mimic-cxr-2.0.0-{part}.csv" for part in ("chexpert", "metadata", "split"))
NEEDED = f"MIMIC-CXR-JPG needs {LABELS} and {METADATA}, and may have {SPLIT}"
STUDY = ("subject_id", "study_id")
OFFICIAL = {"train": "train", "validate": "validation", "test": "test"}

V1_TABLES = ("train.csv", "valid.csv")
V1_PATH = r"^(?P<split>train|valid)/p(?P<patient>\d+)/s(?P<study>\d+)/view\d+_(?P<view>[a-z]+)\.jpg$"
V1_OFFICIAL = {"train": "train", "valid": "validation"}


def read(root: Path, *, check_files: bool) -> SourceRows:
    """Rows of whichever layout lies below ``root``; patients are the subject ids.

    Raises:
        InputError: when neither is found, a table is missing or lacks a column, or a cell cannot be read.
    """
    del check_files  # Paths follow from the tables alone; no folder has to be listed to form them.
    home = find_home(root, [LABELS, V1_TABLES[0]], ["subject_id", "path"])
    if table_file(home, LABELS) is not None:
        return _read_jpg(root, home)
    files = [file for name in V1_TABLES if (file := table_file(home, name)) is not None]
    return stack([_read_v1(file, below(root, home)) for file in files])


def _read_jpg(root: Path, home: Path) -> SourceRows:
    labels, values = _study_labels(needed_file(home, LABELS, NEEDED))
    metadata = read_table(needed_file(home, METADATA, NEEDED), ["dicom_id", *STUDY], ["ViewPosition", "StudyDate"])
    for column in STUDY:
        metadata.check(column, r"\d+", "a number")
    at = _label_row(labels, metadata.frame)
    images = Table(metadata.path, metadata.source, metadata.frame[at >= 0])
    at = at[at >= 0]
    official, sources = _official_split(home, images.frame["dicom_id"])
    dicoms = images.frame["dicom_id"]
    reasons = refusals(dicoms, dicoms.str.fullmatch(r"[\w-][\w.-]*"), "a dicom_id of letters, digits and '-'")
    columns = _jpg_columns(images.frame, below(root, home) + ("" if any(home.glob("p1[0-9]")) else "files/"))
    columns["official_split"] = official
    known, patient_tables = patient_columns(images.frame, home)
    columns |= known
    looked_in = "files/p10/p10000032/s50414267/ and so on beside the tables, as .jpg and as .dcm"
    rows = source_rows(images, columns, reasons, values[at], labels=CHEXPERT_LABELS, looked_in=looked_in)
    unlabelled = len(metadata.frame) - len(images.frame)
    return replace(
        rows,
        tables=(labels.source, metadata.source, *sources, *patient_tables),
        instead=DICOM_INSTEAD,
        dropped={"study without a label row": unlabelled} if unlabelled else {},
    )


def _study_labels(file: Path) -> tuple[Table, npt.NDArray[np.int8]]:
    """The label table and its values, one row a study, in the order of ``CHEXPERT_LABELS``."""
    table, values = read_label_table(file, STUDY, CHEXPERT_LABELS)
    for column in STUDY:
        table.check(column, r"\d+", "a number")
    again = table.frame.duplicated(list(STUDY))
    if again.any():
        row = table.first(again)
        subject, study = table.frame.loc[row, list(STUDY)]
        raise InputError(f"{table.where(row)}: subject {subject}, study {study} has a label row already")
    return table, values


def _label_row(labels: Table, images: pd.DataFrame) -> npt.NDArray[np.int64]:
    """(N,) position in the label table of each image's study; -1 where the study has none."""
    studies = pd.MultiIndex.from_frame(labels.frame[list(STUDY)])
    positions = studies.get_indexer(pd.MultiIndex.from_frame(images[list(STUDY)]))
    return np.asarray(positions, dtype=np.int64)


def _jpg_columns(images: pd.DataFrame, folder: str) -> dict[str, pd.Series]:
    subject, study = images["subject_id"], images["study_id"]
    name = "p" + subject.str.slice(0, 2) + "/p" + subject + "/s" + study + "/" + images["dicom_id"] + ".jpg"
    columns = {"raw": folder + name, "path": folder + name, "name": name, "patient": subject, "study": study}
    unknown = pd.Series("unknown", index=images.index, dtype="str")
    return {**columns, "view": views(images["ViewPosition"]) if "ViewPosition" in images else unknown}


def _official_split(home: Path, dicoms: pd.Series) -> tuple[pd.Series, list[SourceTable]]:
    """Official split of each image, '' where the split table is absent or does not list it."""
    file = table_file(home, SPLIT)
    if file is None:
        return pd.Series("", index=dicoms.index, dtype="str"), []
    table = read_table(file, ["dicom_id", "split"])
    words, again = table.frame["split"], table.frame["dicom_id"].duplicated()
    bad = again | ~words.isin(OFFICIAL)
    if bad.any():
        row = table.first(bad)
        wrong = f"split {words[row]!r}; expected {', '.join(OFFICIAL)}"
        raise InputError(f"{table.where(row)}: {'the dicom_id is there twice' if again[row] else wrong}")
    by_dicom = pd.Series(words.map(OFFICIAL).to_numpy(), index=pd.Index(table.frame["dicom_id"]))
    return dicoms.map(by_dicom).fillna("").astype("str"), [table.source]


def _read_v1(file: Path, prefix: str) -> SourceRows:
    table, values = read_label_table(file, ["path"], CHEXPERT_LABELS)
    raw = table.frame["path"]
    parts = named_parts(raw, V1_PATH)
    view = parts["view"].where(parts["view"].isin(["frontal", "lateral"]), "unknown")
    common = {"raw": raw, "path": prefix + raw, "name": raw, "patient": parts["patient"], "study": parts["study"]}
    common |= {"view": view, "official_split": parts["split"].map(V1_OFFICIAL)}
    reasons = refusals(raw, parts["patient"].notna(), "train/pNNNNNNNN/sNN/viewN_frontal.jpg or the like")
    looked_in = "train/ and valid/ beside the tables"
    return source_rows(table, common, reasons, values, labels=CHEXPERT_LABELS, looked_in=looked_in)
