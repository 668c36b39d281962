"""Write MIMIC-CXR-JPG 2.0.0: JPEG files and rows of its three tables, patient by patient.

Labels stand once per study, in alphabetical columns. A few studies have pictures but no label row; some views are
blank or LL; some patients have several studies and some studies several pictures.
"""

from __future__ import annotations

from pathlib import Path

from datasets.phantom.layout import Job, Layout, Rows, digits, draw_pixels, report, save_jpeg
from datasets.phantom.patients import KINDS, Patient, draw_patient, generator, read_profile
from datasets.sources.labels import CHEXPERT_LABELS

OFTEN = {"pneumonia": 0.11, "devices": 0.36, "effusion": 0.28}
"""Findings that are not as frequent as in CheXpert."""
PROFILE = read_profile("mimic_cxr", {name: kind.chexpert for name, kind in KINDS.items()} | OFTEN)
LABEL_TABLE, METADATA_TABLE, SPLIT_TABLE = (
    f"mimic-cxr-2.0.0-{part}.csv.gz" for part in ("chexpert", "metadata", "split")
)
LABELS = tuple(sorted(CHEXPERT_LABELS))
METADATA_HEADER = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)

_RANGE = 9_999_991
"""A prime: multiples of any smaller number are spread over the ids without meeting."""
_MOST_STUDIES = 8
_PROCEDURES = {"AP": "CHEST (PORTABLE AP)", "PA": "CHEST (PA ONLY)", "LATERAL": "CHEST (PA AND LAT)"}
_VIEWS = {"AP": "antero-posterior", "PA": "postero-anterior", "LATERAL": "lateral", "LL": "left lateral", "": ""}
"""ViewCodeSequence_CodeMeaning of each ViewPosition."""


def subject_id(number: int) -> int:
    """Eight digits, different for each patient, spread over p10 .. p19."""
    return 10_000_000 + (32 + (number - 1) * 2_654_435) % _RANGE


def study_id(number: int, study: int) -> int:
    """Eight digits that begin with 5, different for each study of each patient."""
    return 50_000_000 + (414_267 + ((number - 1) * _MOST_STUDIES + study) * 3_141_593) % _RANGE


def has_labels(number: int, study: int) -> bool:
    """Whether a study has a row in the label table; the first study of patients 3, 53, 103, ... has none."""
    return not (study == 0 and number % 50 == 3)


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
    clock = "{:02d}{:02d}{:02d}.{:03d}".format(*(rng.integers(end) for end in (24, 60, 60, 1000)))
    procedure = _PROCEDURES[shown.views[-1]]
    # 1 patient in 10 test, 1 in 20 validate; the real parts hold 1 to 2 percent.
    part = "test" if number % 10 == 4 else "validate" if number % 20 == 9 else "train"
    for image, view in enumerate(shown.views):
        text = digits(job, number, study, image)
        dicom = "-".join(text[start : start + 8] for start in range(0, 40, 8))
        gray = draw_pixels(job, PROFILE, patient, study, image)
        save_jpeg(root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study_key}" / f"{dicom}.jpg", gray)
        # A quarter of the laterals are LL; pictures of patients 5, 45, 85, ... have no position.
        left = rng.random() < 0.25 and view == "LATERAL"
        position = "" if number % 40 == 5 else "LL" if left else view
        height, width = map(str, gray.shape)
        meanings = (procedure, _VIEWS[position], "Recumbent" if view == "AP" else "Erect")
        row = (dicom, subject, study_key, procedure, position, height, width, day, clock, *meanings)
        rows[METADATA_TABLE].append(row)
        rows[SPLIT_TABLE].append((dicom, study_key, subject, part))


LAYOUT = Layout(
    folder="MIMIC-CXR-JPG",
    tables={
        LABEL_TABLE: ",".join(("subject_id", "study_id", *LABELS)),
        METADATA_TABLE: METADATA_HEADER,
        SPLIT_TABLE: "dicom_id,study_id,subject_id,split",
    },
    write_patient=write_patient,
    order=("subject_id", "study_id", "dicom_id"),
)
