"""Write ChestX-ray14: PNG files and rows of Data_Entry_2017_v2020.csv, patient by patient.

Oddities of the real release that are kept: one RGBA and one 16-bit PNG, a patient whose rows are not in the order of
the file names, follow-up numbers that differ from the file's suffix, list files without a final newline, pacemakers
and broken ribs that no label names.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.phantom.canvas import Field
from datasets.phantom.layout import Job, Layout, Row, Rows, draw_pixels, save_png
from datasets.phantom.lesions import lesion_boxes
from datasets.phantom.patients import KINDS, Case, Finding, draw_patient, generator, read_profile
from datasets.sources.boxes import PUBLISHED_SIDE

PROFILE = read_profile("chestxray14", {name: kind.chestxray14 for name, kind in KINDS.items()})
TABLE, TRAIN_VAL, TEST = "Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt"
BOXES, BOXES_HEADER = "BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,"
BOXED = {
    "atelectasis": "Atelectasis",
    "effusion": "Effusion",
    "infiltration": "Infiltrate",
    "mass": "Mass",
    "nodule": "Nodule",
    "pneumonia": "Pneumonia",
    "pneumothorax": "Pneumothorax",
}
"""What the table of boxes calls the findings; Cardiomegaly, its eighth, leaves no trace but a wide heart."""
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)

_RGBA, _SIXTEEN_BIT, _OUT_OF_ORDER = 1, 2, 3
_FOLDERS = 12
_ORIGINALS = (
    *(("2048", "2500", "0.168"), ("2500", "2048", "0.168")),
    *(("2500", "2048", "0.171"), ("2992", "2991", "0.143")),
)


def write_patient(root: Path, job: Job, number: int) -> tuple[Rows, int]:
    """Write the pictures of one patient below ``root`` and return their rows and list entries."""
    patient = draw_patient(job.seed, PROFILE, number)
    if number == _OUT_OF_ORDER:
        patient = replace(patient, studies=(patient.studies[0],) * 3)
    rng = generator(job.seed, PROFILE, number, 1_000_000)
    folder = root / f"images_{1 + (number - 1) * _FOLDERS // job.patients:03d}" / "images"
    order = list(range(len(patient.studies)))
    if number == _OUT_OF_ORDER:
        order = [*order[1:], 0]
    rows, boxes = list[Row](), list[Row]()
    for follow_up, study in enumerate(order):
        name, shown = f"{number:08d}_{study:03d}.png", patient.studies[study]
        lesions = list[tuple[Finding, Field]]()
        pixels = draw_pixels(job, PROFILE, patient, study, 0, lambda *lesion, kept=lesions: kept.append(lesion))
        save_png(folder / name, _odd(pixels, number) if study == 0 else pixels)
        boxes += [row for lesion in lesions for row in _box_rows(name, *lesion)]
        who = (str(number), str(patient.age + follow_up), patient.anatomy.sex[0], shown.views[0])
        width, height, spacing = _ORIGINALS[int(rng.integers(len(_ORIGINALS)))]
        rows.append((name, finding_labels(shown.case), str(follow_up), *who, width, height, spacing, spacing))
    listed = TEST if number % 5 == 2 else TRAIN_VAL
    return {TABLE: rows, listed: [(row[0],) for row in rows], BOXES: boxes}, len(rows)


def _box_rows(name: str, finding: Finding, change: Field) -> list[Row]:
    """Rows of the table of boxes, in pixels of the published images whatever the size of the drawn one."""
    if finding.name not in BOXED:
        return []
    scale = PUBLISHED_SIDE / len(change)
    numbers = ((x, y, right - x, bottom - y) for x, y, right, bottom in lesion_boxes(change))
    return [(name, BOXED[finding.name], *(f"{scale * value:.3f}" for value in box)) for box in numbers]


def finding_labels(case: Case) -> str:
    """Names of the findings in alphabetical order joined by '|', or No Finding."""
    names = (finding.kind.chestxray14_label for finding in case)
    return "|".join(sorted(filter(None, names))) or "No Finding"


def _odd(gray: NDArray[np.uint8], number: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The first picture of a patient, of two of them as RGBA or in 16 bits."""
    if number == _RGBA:
        return np.dstack((gray, gray, gray, np.full_like(gray, 255)))
    return gray.astype(np.uint16) * np.uint16(257) if number == _SIXTEEN_BIT else gray


LAYOUT = Layout(
    folder="ChestX-ray14",
    tables={TABLE: HEADER, TRAIN_VAL: "", TEST: "", BOXES: BOXES_HEADER},
    write_patient=write_patient,
)
