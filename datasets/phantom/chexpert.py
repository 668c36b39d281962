"""Write CheXpert-v1.0-small: JPEG files and rows of train.csv or valid.csv, patient by patient.

Oddities of the real tables that are kept: studies of a patient out of order, one patient of unknown sex and age 0,
one with a lateral picture only, one frontal picture whose AP/PA says LL, ages capped at 90, No Finding never 0.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from datasets.phantom.layout import Job, Layout, Row, Rows, draw_pixels, report, save_jpeg
from datasets.phantom.patients import KINDS, Patient, Study, draw_patient, generator, read_profile
from datasets.sources.labels import CHEXPERT_LABELS

PROFILE = read_profile("chexpert", {name: kind.chexpert for name, kind in KINDS.items()})
FOLDER = "CheXpert-v1.0-small"
HEADER = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS))

_UNKNOWN_SEX, _ONLY_LATERAL, _LL_FRONTAL = 2, 3, 4
_OLDEST = 90


def write_patient(root: Path, job: Job, number: int) -> tuple[Rows, int]:
    """Write the pictures of one patient below ``root`` and return their rows; the last one in 20 is in valid.csv."""
    patient = draw_patient(job.seed, PROFILE, number)
    valid = number > job.patients - max(1, job.patients // 20)
    if valid:
        patient = replace(patient, studies=patient.studies[:1])
    elif number == _ONLY_LATERAL:
        patient = replace(patient, studies=(Study(case=patient.studies[0].case, views=("LATERAL",)),))
    part = "valid" if valid else "train"
    rng = generator(job.seed, PROFILE, number, 1_000_000)
    by_study = [_write_study(root, job, patient, study, part) for study in range(len(patient.studies))]
    rows = [row for study in rng.permutation(len(by_study)) for row in by_study[study]]
    return {f"{part}.csv": rows}, len(rows)


def _write_study(root: Path, job: Job, patient: Patient, study: int, part: str) -> list[Row]:
    shown = patient.studies[study]
    rng = generator(job.seed, PROFILE, patient.number, study)
    labels = _truth(shown) if part == "valid" else report(shown.case, CHEXPERT_LABELS, rng)
    sex, age = patient.anatomy.sex, str(min(_OLDEST, patient.age + study))
    if patient.number == _UNKNOWN_SEX:
        sex, age = "Unknown", "0"
    rows = []
    for image, view in enumerate(shown.views):
        side = "lateral" if view == "LATERAL" else "frontal"
        name = f"{part}/patient{patient.number:05d}/study{study + 1}/view{image + 1}_{side}.jpg"
        save_jpeg(root / name, draw_pixels(job, PROFILE, patient, study, image))
        odd = patient.number == _LL_FRONTAL and study == image == 0
        projection = "LL" if odd else "" if view == "LATERAL" else view
        rows.append((f"{FOLDER}/{name}", sex, age, side.capitalize(), projection, *labels))
    return rows


def _truth(study: Study) -> Row:
    """Labels of valid.csv, set by readers: '1.0' or '0.0' and nothing else."""
    positive = {name for finding in study.case for name in finding.kind.chexpert_labels}
    if all(finding.name == "devices" for finding in study.case):
        positive.add("No Finding")
    return tuple("1.0" if label in positive else "0.0" for label in CHEXPERT_LABELS)


LAYOUT = Layout(folder=FOLDER, tables={"train.csv": HEADER, "valid.csv": HEADER}, write_patient=write_patient)
