"""Write PadChest: PNG files of 16 bits in numbered folders, and rows whose labels are lists of words.

Oddities of the real table that are kept: cells over two lines, words that begin with a blank, rows without labels,
'unchanged', empty lists, one projection that is EXCLUDE, an unknown year of birth.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.phantom.layout import Job, Layout, Picture, Rows, digits, draw_pictures, save_png
from datasets.phantom.mimic_cxr import PROFILE as MIMIC_CXR

PROFILE = replace(MIMIC_CXR, stream=5, lettering=("L", "R", "P"), noise=0.02)
TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,PhotometricInterpretation_DICOM,"
    "PixelRepresentation_DICOM,PixelAspectRatio_DICOM,SpatialResolution_DICOM,BitsStored_DICOM,WindowCenter_DICOM,"
    "WindowWidth_DICOM,Rows_DICOM,Columns_DICOM,XRayTubeCurrent_DICOM,Exposure_DICOM,ExposureInuAs_DICOM,ExposureTime,"
    "RelativeXRayExposure_DICOM,ReportID,Report,MethodLabel,Labels,Localizations,LabelsLocalizationsBySentence,"
    "labelCUIS,LocalizationsCUIS"
)
WORDS = {
    "atelectasis": "laminar atelectasis",
    "devices": "pacemaker",
    "edema": "pulmonary edema",
    "effusion": "pleural effusion",
    "fibrosis": "pulmonary fibrosis",
    "fracture": "callus rib fracture",
    "hernia": "hiatal hernia",
    "infiltration": "infiltrates",
    "mass": "pulmonary mass",
    "pleural_thickening": "apical pleural thickening",
    "wide_mediastinum": "mediastinal enlargement",
}
"""Words of findings that have another name here."""
_FOLDERS = 55
_NO_LABELS, _UNCHANGED, _EMPTY, _EXCLUDED, _NO_BIRTH = 1, 2, 3, 4, 5
_PROJECTIONS = {"PA": "PA", "AP": "AP_horizontal", "LATERAL": "L"}


def write_patient(root: Path, job: Job, number: int) -> tuple[Rows, int]:
    """Write the pictures of one patient below ``root`` and return their rows."""
    folder = str((number - 1) * _FOLDERS // job.patients)
    rows = []
    for picture in draw_pictures(job, PROFILE, number):
        study = str(int(digits(job, number, picture.study)[:30], 16))
        name = f"{study}_{picture.image:06d}.png"
        save_png(root / folder / name, picture.gray.astype(np.uint16) * np.uint16(257))
        rows.append(_row(picture, number, folder, study, name))
    return {TABLE: rows}, len(rows)


def _row(picture: Picture, number: int, folder: str, study: str, name: str) -> tuple[str, ...]:
    first = picture.study == picture.image == 0
    words = [WORDS.get(finding.name, finding.name) for finding in picture.shown.case] or ["normal"]
    labels = str([word if at == 0 else f" {word}" for at, word in enumerate(words)])
    if first:
        labels = {_NO_LABELS: "nan", _UNCHANGED: "['unchanged']", _EMPTY: "['']"}.get(number, labels)
    cells = dict.fromkeys(HEADER.split(","), "None")
    height, width = map(str, picture.gray.shape)
    cells |= {"": str(number), "ImageID": name, "ImageDir": folder, "StudyDate_DICOM": f"{2010 + picture.study}0305"}
    cells |= {"StudyID": study, "PatientID": str(10**38 + number), "PatientSex_DICOM": picture.patient.anatomy.sex[0]}
    cells["PatientBirth"] = "" if number == _NO_BIRTH else f"{2010 - picture.patient.age}.0"
    cells["Projection"] = "EXCLUDE" if first and number == _EXCLUDED else _PROJECTIONS[picture.view]
    cells |= {"Rows_DICOM": height, "Columns_DICOM": width, "BitsStored_DICOM": "12", "MethodLabel": "RNN_model"}
    cells |= {"Labels": f'"{labels}"', "labelCUIS": "\"['C0000000' 'C0000001'\n 'C0000002']\"", "Localizations": "[]"}
    return tuple(cells.values())


LAYOUT = Layout(folder="PadChest", tables={TABLE: HEADER}, write_patient=write_patient)
