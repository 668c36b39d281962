"""Write VinDr-CXR 1.0.0: DICOM files of 12 bits, three rows for each training image, one for each test image.

Each patient has one picture. A mild finding is missed by one of the three readers; every fifth picture is stored as
MONOCHROME1; the test table says 'Other disease' where the training table says 'Other diseases'.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datasets.phantom.chestxray14 import PROFILE as CHESTXRAY14
from datasets.phantom.layout import Job, Layout, Rows, digits, draw_pictures, save_dicom
from datasets.sources.labels import VINDR_LABELS

PROFILE = replace(CHESTXRAY14, stream=4, num_studies=(1.0,), ap=0.0, aspects=(1.22, 0.84), gamma=1.05)
TRAIN, TEST = "annotations/image_labels_train.csv", "annotations/image_labels_test.csv"
_PRINTED = {
    "Pleural Effusion": "Pleural effusion",
    "Pleural_Thickening": "Pleural thickening",
    "Fibrosis": "Pulmonary fibrosis",
    "No Finding": "No finding",
}
COLUMNS = tuple(_PRINTED.get(label, label) for label in VINDR_LABELS)
_NAMES = {
    "devices": "",
    "effusion": "Pleural effusion",
    "fibrosis": "Pulmonary fibrosis",
    "fracture": "Rib fracture",
    "hernia": "Other diseases",
    "mass": "Nodule/Mass",
    "nodule": "Nodule/Mass",
    "pleural_thickening": "Pleural thickening",
    "wide_mediastinum": "Aortic enlargement",
}
"""Columns of findings that are not called as the column is."""
_MILD = 0.3


def write_patient(root: Path, job: Job, number: int) -> tuple[Rows, int]:
    """Write the picture of one patient below ``root`` and return its rows; one patient in six is in the test part."""
    picture = next(draw_pictures(job, PROFILE, number))
    name, part = digits(job, number)[:32], "test" if number % 6 == 0 else "train"
    stored = picture.gray.astype(np.uint16) << np.uint16(4)
    window: dict[str, Any] = {"BitsStored": 12, "WindowCenter": "2048", "WindowWidth": "4096"}
    if number % 5 == 0:
        stored, window["PhotometricInterpretation"] = np.uint16(4095) - stored, "MONOCHROME1"
    save_dicom(root / part / f"{name}.dicom", stored, **window)
    found = {_NAMES.get(each.name, each.name.capitalize()): each.severity for each in picture.shown.case}
    found.pop("", None)
    said = [found, found, {column: severity for column, severity in found.items() if severity > _MILD}]
    lines = [tuple(str(int(column in (each or {"No finding": 1}))) for column in COLUMNS) for each in said]
    if part == "test":
        return {TEST: [(name, *lines[0])]}, 1
    return {TRAIN: [(name, f"R{1 + (number + reader) % 17}", *line) for reader, line in enumerate(lines)]}, 1


LAYOUT = Layout(
    folder="VinDr-CXR",
    tables={
        TRAIN: ",".join(("image_id", "rad_id", *COLUMNS)),
        TEST: ",".join(("image_id", *COLUMNS)).replace("Other diseases", "Other disease"),
    },
    write_patient=write_patient,
)
