"""Read the RSNA Pneumonia Detection Challenge of 2018 (stage 2): 26,684 images of ChestX-ray14, read anew.

Each image has a 'patientId' of its own, which is no patient. RSNA's mapping file tells the image of ChestX-ray14, so
that patients are those of ChestX-ray14, and leaks between the two datasets are found. Boxes repeat an image's row.

The class 'No Lung Opacity / Not Normal' means no opacity that looks like pneumonia: it says nothing of Lung Opacity
in CheXpert's sense, of which edema and atelectasis are kinds, so that label is missing there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from datasets.errors import InputError
from datasets.files import read_json, sha256_file
from datasets.sources.cells import MISSING, ages_in_years, one_value_each, sexes
from datasets.sources.folders import below, find_home, needed_file, refusals, table_file
from datasets.sources.labels import RSNA_LABELS
from datasets.sources.rows import SourceRows, source_rows
from datasets.sources.tables import SourceTable, Table, read_table

LABELS, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
HEADERS = "kaggle_stage_2_train_images_dicom_headers.csv"
"""torchxrayvision's table of ages and sexes; the files of the challenge have them in their DICOM headers alone."""
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
NEEDED = (
    "it tells which image of ChestX-ray14, and so of which patient, each image is; fetch it from RSNA's page of the "
    "challenge and put it beside the tables"
)
VALUES = {
    "Lung Opacity": (1, 1, 0),
    "No Lung Opacity / Not Normal": (0, MISSING, 0),
    "Normal": (0, 0, 1),
    "1": (1, 1, 0),
    "0": (0, MISSING, MISSING),
}
"""Values of ``RSNA_LABELS`` by class, and by 'Target' where there is no table of classes."""
OLDEST = 120
"""Five images say 148 to 155 years."""


def read(root: Path, *, check_files: bool) -> SourceRows:
    """Rows of stage_2_train_labels.csv, one an image; stage 2's test images have no labels and are not read.

    Raises:
        InputError: when a table or the mapping is not found, or one says two things of an image.
    """
    del check_files  # Paths follow from the tables alone.
    home = find_home(root, [LABELS], ["patientId"])
    labels = read_table(needed_file(home, LABELS, "it has the labels"), ["patientId", "Target"])
    labels.check("Target", "[01]", "0 or 1")
    targets = one_value_each(labels, "patientId", "Target")
    images = Table(labels.path, labels.source, labels.frame.drop_duplicates("patientId"))
    ids, sources = images.frame["patientId"], [labels.source]
    told = ids.map(targets)
    if (file := table_file(home, CLASSES)) is not None:
        told, source = _classes(file, told, ids)
        sources.append(source)
    values = np.array([VALUES[word] for word in told], dtype=np.int8)
    originals, source = _original_names(needed_file(home, MAPPING, NEEDED))
    columns = _columns(ids, ids.map(originals).fillna("").astype("str"), f"{below(root, home)}stage_2_train_images/")
    if (file := table_file(home, HEADERS)) is not None:
        headers = read_table(file, ["PatientID", "PatientAge", "PatientSex"])
        by_id = headers.frame.drop_duplicates("PatientID").set_index("PatientID").reindex(ids).set_axis(ids.index)
        ages = ages_in_years(by_id["PatientAge"].fillna(""))
        columns |= {"age": ages.mask(ages > OLDEST), "sex": sexes(by_id["PatientSex"].fillna(""))}
        sources.append(headers.source)
    mapped = columns["name"].str.fullmatch(r"\d{8}_\d{3}\.png")
    reasons = refusals(ids, ids.str.fullmatch(r"[\w-]+") & mapped, f"a patientId that {MAPPING} names")
    looked_in = "stage_2_train_images/ beside the table, as .dcm, .png and .jpg"
    rows = source_rows(images, columns, reasons, values, labels=RSNA_LABELS, looked_in=looked_in)
    return replace(rows, tables=(*sources, source), instead=((r"\.dcm$", ".png"), (r"\.dcm$", ".jpg")))


def _classes(file: Path, targets: pd.Series, ids: pd.Series) -> tuple[pd.Series, SourceTable]:
    """Class of each image, its target where the table does not name it."""
    table = read_table(file, ["patientId", "class"])
    table.check("class", "|".join(word for word in VALUES if len(word) > 1), "a class of the challenge")
    told = ids.map(one_value_each(table, "patientId", "class"))
    wrong = told.notna() & ((told == "Lung Opacity") != (targets == "1"))
    if wrong.any():
        image = ids[wrong].iloc[0]
        raise InputError(f"{file}: {image} is {told[wrong].iloc[0]!r}, but its Target in {LABELS} says otherwise")
    return told.fillna(targets), table.source


def _original_names(file: Path) -> tuple[dict[str, str], SourceTable]:
    """Image of ChestX-ray14 by patientId."""
    try:
        names = {str(entry["subset_img_id"]): str(entry["img_id"]) for entry in read_json(file)}
    except (TypeError, KeyError):
        raise InputError(f"{file}: not a list of entries with 'subset_img_id' and 'img_id'; fetch it again") from None
    return names, SourceTable(file.name, sha256_file(file), len(names))


def _columns(ids: pd.Series, originals: pd.Series, folder: str) -> dict[str, pd.Series]:
    """Common columns; names and patients are those of ChestX-ray14, whose images are all frontal."""
    columns = {"raw": ids, "path": folder + ids + ".dcm", "name": originals}
    columns |= {"patient": originals.str.slice(0, 8), "study": originals.str.slice(9, 12)}
    return {**columns, "view": pd.Series("frontal", index=ids.index, dtype="str")}
