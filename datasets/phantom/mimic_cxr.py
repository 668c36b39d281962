"""Write MIMIC-CXR-JPG 2.0.0: JPEG files and rows of its three tables, patient by patient.

Labels stand once per study, in alphabetical columns. A few studies have pictures but no label row; some views are
blank or LL; some patients have several studies and some studies several pictures.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from datasets.phantom.findings import CHEXPERT_PREVALENCE
from datasets.phantom.layout import Job, Layout, Rows, Table, draw_pixels, report, save_jpeg
from datasets.phantom.patients import Habits, Patient, Profile, draw_patient, generator
from datasets.phantom.render import View
from datasets.phantom.style import Style
from datasets.sources.labels import CHEXPERT_LABELS

PROFILE = Profile(
    stream=3,
    habits=Habits(num_studies=(0.58, 0.28, 0.14), ap=0.55, lateral=0.70, second=0.06),
    prevalence=CHEXPERT_PREVALENCE | {"pneumonia": 0.11, "devices": 0.36, "effusion": 0.28},
    style=Style(
        aspects=(0.83, 0.83, 1.2, 1.0),
        black=-0.06,
        white=1.10,
        gamma=1.0,
        noise=0.024,
        border_chance=0.15,
        lettering=("L", "R"),
    ),
)
FOLDER = "MIMIC-CXR-JPG"
LABEL_TABLE = "mimic-cxr-2.0.0-chexpert.csv.gz"
METADATA_TABLE = "mimic-cxr-2.0.0-metadata.csv.gz"
SPLIT_TABLE = "mimic-cxr-2.0.0-split.csv.gz"
LABELS = tuple(sorted(CHEXPERT_LABELS))
LABEL_COLUMNS = ("subject_id", "study_id", *LABELS)
METADATA_COLUMNS = (
    "dicom_id",
    "subject_id",
    "study_id",
    "PerformedProcedureStepDescription",
    "ViewPosition",
    "Rows",
    "Columns",
    "StudyDate",
    "StudyTime",
    "ProcedureCodeSequence_CodeMeaning",
    "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
)
SPLIT_COLUMNS = ("dicom_id", "study_id", "subject_id", "split")

_RANGE = 9_999_991
"""A prime: multiples of any smaller number are spread over the ids without meeting."""
_MOST_STUDIES = 8
_PROCEDURES = {"AP": "CHEST (PORTABLE AP)", "PA": "CHEST (PA ONLY)", "LATERAL": "CHEST (PA AND LAT)"}
_VIEW_MEANINGS: dict[str, str] = {
    "AP": "antero-posterior",
    "PA": "postero-anterior",
    "LATERAL": "lateral",
    "LL": "left lateral",
    "": "",
}


def subject_id(number: int) -> int:
    """Eight digits, different for each patient, spread over p10 .. p19."""
    return 10_000_000 + (32 + (number - 1) * 2_654_435) % _RANGE


def study_id(number: int, study: int) -> int:
    """Eight digits that begin with 5, different for each study of each patient."""
    return 50_000_000 + (414_267 + ((number - 1) * _MOST_STUDIES + study) * 3_141_593) % _RANGE


def has_labels(number: int, study: int) -> bool:
    """Whether a study has a row in the label table; the first study of patients 3, 53, 103, ... has none."""
    return not (study == 0 and number % 50 == 3)


def split_of(number: int) -> str:
    """Part that a patient belongs to: 1 in 10 test, 1 in 20 validate (the real parts hold 1 to 2 percent)."""
    if number % 10 == 4:
        return "test"
    return "validate" if number % 20 == 9 else "train"


def write_patient(root: Path, job: Job, number: int) -> tuple[Rows, int]:
    """Write the pictures of one patient below ``root`` and return their rows."""
    patient = draw_patient(job.seed, PROFILE, number)
    rows: Rows = {LABEL_TABLE: [], METADATA_TABLE: [], SPLIT_TABLE: []}
    for study in range(len(patient.studies)):
        _write_study(root, job, patient, study, rows)
    return rows, len(rows[METADATA_TABLE])


def _write_study(root: Path, job: Job, patient: Patient, study: int, rows: Rows) -> None:
    number, shown = patient.number, patient.studies[study]
    rng = generator(job.seed, PROFILE, number, study)
    subject, study_key = str(subject_id(number)), str(study_id(number, study))
    if has_labels(number, study):
        rows[LABEL_TABLE].append((subject, study_key, *report(shown.case, LABELS, rng)))
    day = f"{2110 + number % 90}{1 + study:02d}{1 + number % 28:02d}"
    clock = (
        f"{int(rng.integers(24)):02d}{int(rng.integers(60)):02d}{int(rng.integers(60)):02d}.{rng.integers(1000):03d}"
    )
    procedure = _PROCEDURES[shown.views[-1]]
    for image, view in enumerate(shown.views):
        dicom = _dicom_id(job.seed, number, study, image)
        gray = draw_pixels(job, PROFILE, patient, study, image)
        save_jpeg(root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study_key}" / f"{dicom}.jpg", gray)
        position = _view_position(view, number, rng)
        height, width = (str(side) for side in gray.shape)
        posture = "Recumbent" if view == "AP" else "Erect"
        rows[METADATA_TABLE].append(
            (
                *(dicom, subject, study_key, procedure, position, height, width, day, clock),
                *(procedure, _VIEW_MEANINGS[position], posture),
            )
        )
        rows[SPLIT_TABLE].append((dicom, study_key, subject, split_of(number)))


def _view_position(view: View, number: int, rng: np.random.Generator) -> str:
    """ViewPosition as the table has it: a quarter of the laterals are LL, patients 5, 45, 85, ... have none."""
    left_lateral = rng.random() < 0.25
    if number % 40 == 5:
        return ""
    return "LL" if view == "LATERAL" and left_lateral else view


def _dicom_id(seed: int, number: int, study: int, image: int) -> str:
    """Five groups of eight hexadecimal digits."""
    digits = hashlib.sha256(f"{seed}/{number}/{study}/{image}".encode()).hexdigest()
    return "-".join(digits[start : start + 8] for start in range(0, 40, 8))


LAYOUT = Layout(
    profile=PROFILE,
    folder=FOLDER,
    tables={
        LABEL_TABLE: Table(columns=LABEL_COLUMNS, order=("subject_id", "study_id")),
        METADATA_TABLE: Table(columns=METADATA_COLUMNS, order=("subject_id", "study_id", "dicom_id")),
        SPLIT_TABLE: Table(columns=SPLIT_COLUMNS, order=("subject_id", "study_id", "dicom_id")),
    },
    write_patient=write_patient,
)
