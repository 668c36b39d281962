"""Read VinDr-CXR 1.0.0, or the training part of it that Kaggle's VinBigData challenge of 2021 has.

Three radiologists read each training image: a label is positive where two of them say so, as in the published counts.
Test images have one row, the consensus of five. Patients are not published, so each image counts as one.

Kaggle's table has boxes in place of labels, of 14 findings: the other labels are missing there, and 'Other lesion'
holds what PhysioNet's tables name apart.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from datasets.errors import InputError
from datasets.sources.cells import MISSING, read_label_table
from datasets.sources.folders import below, find_home, needed_file, refusals, table_file
from datasets.sources.labels import VINDR_LABELS, canonical
from datasets.sources.rows import SourceRows, source_rows, stack
from datasets.sources.tables import Table, read_table

PARTS = {"annotations/image_labels_train.csv": "train", "annotations/image_labels_test.csv": "test"}
KAGGLE = "train.csv"
KAGGLE_LABELS = {
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "ILD", "Infiltration"),
    *("Lung Opacity", "Nodule/Mass", "Other lesion", "Pleural Effusion", "Pleural_Thickening", "Pneumothorax"),
    *("Fibrosis", "No Finding"),
}
IMAGES = ((r"\.dicom$", ".dcm"), (r"\.dicom$", ".png"), (r"\.dicom$", ".jpg"))


def read(root: Path, *, check_files: bool) -> SourceRows:
    """One row an image, from whichever tables lie below ``root``.

    Raises:
        InputError: when no table is found, one lacks a column, or a reader or a label is not as expected.
    """
    del check_files  # Paths follow from the tables alone.
    home = find_home(root, [*PARTS, KAGGLE], ["rad_id", "Other disease"])
    files = {file: part for name, part in PARTS.items() if (file := table_file(home, name)) is not None}
    if files:
        return stack([_read_part(file, part, below(root, home)) for file, part in files.items()])
    return _read_kaggle(needed_file(home, KAGGLE, "it has the labels"), below(root, home))


def _read_part(file: Path, part: str, prefix: str) -> SourceRows:
    table, values = read_label_table(file, ["image_id"], VINDR_LABELS, ["rad_id"])
    if part == "train" and "rad_id" not in table.frame:
        raise InputError(f"{file}: no column 'rad_id'; training images have one row for each of their readers")
    return _rows(table, values, part, prefix)


def _read_kaggle(file: Path, prefix: str) -> SourceRows:
    boxes = read_table(file, ["image_id", "rad_id", "class_name"])
    frame = boxes.frame.assign(label=boxes.frame["class_name"].map(canonical))
    unknown = ~frame["label"].isin(KAGGLE_LABELS)
    if unknown.any():
        row = boxes.first(unknown)
        known = ", ".join(sorted(KAGGLE_LABELS))
        raise InputError(f"{boxes.where(row)}: unknown class {frame['class_name'][row]!r}; known: {known}")
    said = pd.crosstab([frame["image_id"], frame["rad_id"]], frame["label"]).clip(upper=1)
    said = said.reindex(columns=list(VINDR_LABELS), fill_value=0)
    reads = frame.drop_duplicates(["image_id", "rad_id"])
    values = said.loc[pd.MultiIndex.from_frame(reads[["image_id", "rad_id"]])].to_numpy(dtype=np.int8)
    rows = _rows(Table(boxes.path, boxes.source, reads), values, "train", prefix)
    rows.values[:, [label not in KAGGLE_LABELS for label in VINDR_LABELS]] = MISSING
    return rows


def _rows(reads: Table, values: npt.NDArray[np.int8], part: str, prefix: str) -> SourceRows:
    """One row an image from one row for each image and reader."""
    frame = reads.frame
    again = frame.duplicated([column for column in ("image_id", "rad_id") if column in frame])
    if again.any():
        row = reads.first(again)
        raise InputError(f"{reads.where(row)}: image {frame['image_id'][row]} has a row of this reader already")
    codes, ids = pd.factorize(frame["image_id"])
    votes = np.zeros((len(ids), values.shape[1]), dtype=np.int8)
    np.add.at(votes, codes, values == 1)
    readers = np.bincount(codes, minlength=len(ids))
    images = Table(reads.path, reads.source, frame[~frame["image_id"].duplicated()])
    names = images.frame["image_id"]
    expected = 1 if part == "test" else 3
    columns: dict[str, pd.Series | str] = {"raw": names, "name": names, "patient": names}
    columns |= {"path": prefix + part + "/" + names + ".dicom", "view": "frontal", "official_split": part}
    reasons = refusals(names, names.str.fullmatch(r"[\w-]+"), "an image_id of letters and digits")
    reasons = reasons.mask(readers != expected, f"expected {expected} rows, one of each reader")
    majority = (votes * 2 > readers[:, None]).astype(np.int8)
    looked_in = f"{part}/ as .dicom, .dcm, .png and .jpg"
    rows = source_rows(images, columns, reasons, majority, labels=VINDR_LABELS, looked_in=looked_in)
    return replace(rows, instead=IMAGES)
