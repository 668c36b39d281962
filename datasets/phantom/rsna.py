"""Write the RSNA Pneumonia Challenge: DICOM files, rows for each box, classes, and the mapping to ChestX-ray14.

The pictures are those of the phantom of ChestX-ray14 with the same seed: two of three patients, as JPEGs in DICOM.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from datasets.phantom.chestxray14 import PROFILE
from datasets.phantom.layout import Job, Layout, Rows, digits, draw_pictures, save_dicom

LABELS, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
_SUSPICIOUS = {"pneumonia", "consolidation", "infiltration"}
"""Findings that are an opacity that looks like pneumonia."""


def write_patient(root: Path, job: Job, number: int) -> tuple[Rows, int]:
    """Write the pictures of one patient below ``root`` and return their rows; every third patient is not there."""
    rows: Rows = {LABELS: [], CLASSES: [], MAPPING: []}
    for picture in draw_pictures(job, PROFILE, number) if number % 3 else ():
        text = digits(job, number, picture.study)
        name = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))
        jpeg = io.BytesIO()
        Image.fromarray(picture.gray).save(jpeg, "JPEG", quality=95)
        who = {
            "PatientID": name,
            "PatientAge": str(picture.patient.age),
            "PatientSex": picture.patient.anatomy.sex[0],
        }
        path = root / "stage_2_train_images" / f"{name}.dcm"
        save_dicom(path, picture.gray, jpeg.getvalue(), **who, Modality="CR", ViewPosition=picture.view)
        found = {finding.name for finding in picture.shown.case}
        boxes = (
            [("1", "1", "4", "5", "1"), ("6", "1", "4", "5", "1")] if found & _SUSPICIOUS else [("", "", "", "", "0")]
        )
        told = "Lung Opacity" if found & _SUSPICIOUS else "No Lung Opacity / Not Normal" if found else "Normal"
        rows[LABELS] += [(name, *box) for box in boxes]
        rows[CLASSES] += [(name, told)] * len(boxes)
        rows[MAPPING].append((name, f"{number:08d}_{picture.study:03d}.png"))
    return rows, len(rows[MAPPING])


LAYOUT = Layout(
    folder="RSNA-Pneumonia",
    tables={LABELS: "patientId,x,y,width,height,Target", CLASSES: "patientId,class", MAPPING: "subset_img_id,img_id"},
    write_patient=write_patient,
)
