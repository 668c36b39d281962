"""Write BRAX 1.1.0: PNG files and rows of master_spreadsheet_update.csv.

Oddities of the real table that are kept: an unnamed first column, ages in steps of five years and '85 or more', views
that are blank, one patient of sex O.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from datasets.phantom.chexpert import PROFILE as CHEXPERT
from datasets.phantom.layout import Job, Layout, Rows, digits, draw_pictures, report, save_png
from datasets.phantom.patients import generator
from datasets.sources.labels import CHEXPERT_LABELS

PROFILE = replace(CHEXPERT, stream=6, ap=0.3, gamma=1.15, black=0.0, lettering=("R", "P"))
TABLE = "master_spreadsheet_update.csv"
HEADER = ",".join(
    (
        *("", "DicomPath", "PngPath", "PatientID", "PatientSex", "PatientAge", "AccessionNumber", "StudyDate"),
        *(*CHEXPERT_LABELS, "ViewPosition", "Rows", "Columns", "Manufacturer"),
    )
)
_SEX_O, _NO_VIEW, _OLDEST = 2, 3, 85
_VIEWS = {"PA": "PA", "AP": "AP", "LATERAL": "L"}


def write_patient(root: Path, job: Job, number: int) -> tuple[Rows, int]:
    """Write the pictures of one patient below ``root`` and return their rows."""
    rows = []
    for picture in draw_pictures(job, PROFILE, number):
        text, patient = digits(job, number, picture.study), f"id_{digits(job, number)[:8]}"
        place = f"{patient}/Study_{text[:10]}/Series_{text[10:20]}/image-{text[20:30]}-{picture.image}"
        save_png(root / "images" / f"{place}.png", picture.gray)
        age = picture.patient.age // 5 * 5
        sex = "O" if number == _SEX_O else picture.patient.anatomy.sex[0]
        who = (patient, sex, f"{_OLDEST} or more" if age >= _OLDEST else str(age), text[:16], "20080103")
        labels = report(picture.shown.case, CHEXPERT_LABELS, generator(job.seed, PROFILE, number, picture.study))
        shape = tuple(map(str, picture.gray.shape))
        view = "" if number == _NO_VIEW else _VIEWS[picture.view]
        rows.append(
            (str(number), f"Anonymized_DICOMs/{place}.dcm", f"images/{place}.png", *who, *labels, view, *shape, "1")
        )
    return {TABLE: rows}, len(rows)


LAYOUT = Layout(folder="BRAX", tables={TABLE: HEADER}, write_patient=write_patient)
