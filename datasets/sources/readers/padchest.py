"""Read PadChest: findings of 160,861 images, named one by one in a list that the table holds as text.

- 'unchanged' (what was seen before) and 'exclude' in a list, and a list that the labelling network left empty, say
  nothing of findings that are not named: those are missing, not negative.
- Words may begin with a blank, and 'normal' may stand beside findings: No Finding is 'normal' alone.
- Whole words count, with the kinds of a finding below it in PadChest's own tree; a pseudonodule is no nodule.
- A study may be of two patients; six patients have no year of birth.

Images lie in folders 0 to 54 as the archives unpack, in ``images/``, or beside the table.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pandas as pd

from datasets.errors import InputError
from datasets.sources.cells import MISSING, parsed_cells, sexes, views
from datasets.sources.folders import below, find_home, needed_file, refusals
from datasets.sources.labels import NO_FINDING, PADCHEST_LABELS
from datasets.sources.rows import DICOM_INSTEAD, SourceRows, source_rows
from datasets.sources.tables import CsvForm, Table, read_table

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
REQUIRED = ("ImageID", "ImageDir", "StudyID", "PatientID", "Labels")
OPTIONAL = ("StudyDate_DICOM", "PatientBirth", "PatientSex_DICOM", "Projection")
UNTOLD = {"unchanged", "exclude"}
"""Words whose lists do not name all findings of the image."""
BLANK = ("", "nan")
_CONSOLIDATION = ("consolidation", "air bronchogram")
_VALVES = ("artificial heart valve", "artificial mitral heart valve", "artificial aortic heart valve")
WORDS = {
    "Atelectasis": [
        *("atelectasis", "atelectasis basal", "laminar atelectasis", "lobar atelectasis", "round atelectasis"),
        *("segmental atelectasis", "total atelectasis"),
    ],
    "Cardiomegaly": ["cardiomegaly"],
    "Effusion": [
        "pleural effusion",
        "loculated pleural effusion",
        "loculated fissural effusion",
        "hydropneumothorax",
    ],
    "Infiltration": [
        *("infiltrates", "interstitial pattern", "ground glass pattern", "reticular interstitial pattern"),
        *("reticulonodular interstitial pattern", "miliary opacities", "alveolar pattern", *_CONSOLIDATION),
    ],
    "Mass": ["mass", "pulmonary mass", "mediastinal mass", "pleural mass", "breast mass", "soft tissue mass"],
    "Nodule": ["nodule", "multiple nodules"],
    "Pneumonia": ["pneumonia", "atypical pneumonia"],
    "Pneumothorax": ["pneumothorax", "hydropneumothorax"],
    "Consolidation": [*_CONSOLIDATION],
    "Edema": ["pulmonary edema"],
    "Emphysema": ["emphysema"],
    "Fibrosis": ["pulmonary fibrosis"],
    "Pleural_Thickening": ["pleural thickening", "apical pleural thickening", "calcified pleural thickening"],
    "Hernia": ["hiatal hernia"],
    "Fracture": [
        *("fracture", "rib fracture", "callus rib fracture", "clavicle fracture", "humeral fracture"),
        "vertebral fracture",
    ],
    "Support Devices": [
        *("electrical device", "pacemaker", "single chamber device", "dual chamber device", *_VALVES),
        *("NSG tube", "endotracheal tube", "tracheostomy tube", "chest drain tube", "gastrostomy tube"),
        *("ventriculoperitoneal drain tube", "nephrostomy tube", "double J stent", "catheter"),
        *("central venous catheter", "reservoir central venous catheter"),
        *(f"central venous catheter via {way} vein" for way in ("jugular", "subclavian", "umbilical")),
    ],
    "COPD": ["COPD signs"],
    "Tuberculosis": ["tuberculosis"],
    "Bronchiectasis": ["bronchiectasis"],
    "Granuloma": ["granuloma", "calcified granuloma"],
    "Air Trapping": ["air trapping"],
    "Flattened Diaphragm": ["flattened diaphragm"],
    "Hemidiaphragm Elevation": ["hemidiaphragm elevation"],
    "Costophrenic Angle Blunting": ["costophrenic angle blunting"],
    "Hilar Enlargement": [
        *("hilar enlargement", "vascular hilar enlargement", "pulmonary artery enlargement", "adenopathy")
    ],
    "Aortic Elongation": [
        *("aortic elongation", "ascendent aortic elongation", "descendent aortic elongation"),
        *("supra aortic elongation", "aortic button enlargement"),
    ],
    "Aortic Atheromatosis": ["aortic atheromatosis"],
    "Scoliosis": ["scoliosis"],
}
"""The words of the table that mean each label."""


def read(root: Path, *, check_files: bool) -> SourceRows:
    """Rows with labels; images that PadChest itself calls no chest radiographs ('EXCLUDE') are left out.

    Raises:
        InputError: when the table is not found, lacks a column, or a cell of 'Labels' is no list of words.
    """
    del check_files  # Paths follow from the table alone.
    home = find_home(root, [TABLE], REQUIRED[:1])
    whole = read_table(
        needed_file(home, TABLE, "it has the labels"), REQUIRED, OPTIONAL, form=CsvForm(multiline=True)
    )
    blank = pd.Series("", index=whole.frame.index, dtype="str")
    unlabelled, projection = whole.frame["Labels"].isin(BLANK), whole.frame.get("Projection", blank)
    excluded = ~unlabelled & (projection == "EXCLUDE")
    table = Table(whole.path, whole.source, whole.frame[~unlabelled & ~excluded])
    table.check("PatientID", r"\d+", "a number")
    values = parsed_cells(table, "Labels", _values, len(PADCHEST_LABELS))
    frame, names = table.frame, table.frame["ImageID"]
    columns = {"raw": names, "name": names, "patient": frame["PatientID"], "study": frame["StudyID"]}
    columns["path"] = below(root, home) + frame["ImageDir"] + "/" + names
    columns["view"] = views(projection[frame.index])
    if "PatientSex_DICOM" in frame:
        columns["sex"] = sexes(frame["PatientSex_DICOM"])
    if {"PatientBirth", "StudyDate_DICOM"} <= set(frame):
        years = frame[["StudyDate_DICOM", "PatientBirth"]].apply(
            lambda column: pd.to_numeric(column.str.slice(0, 4), errors="coerce")
        )
        columns["age"] = (years["StudyDate_DICOM"] - years["PatientBirth"]).astype("Int16")
    in_form = names.str.fullmatch(r"[\w-]+\.png") & frame["ImageDir"].str.fullmatch(r"\d+")
    reasons = refusals(names, in_form, "NNN.png in a numbered folder")
    looked_in = "0/ to 54/, images/0/ and so on, images/, and beside the table"
    rows = source_rows(table, columns, reasons, values, labels=PADCHEST_LABELS, looked_in=looked_in)
    folder = r"(\d+)/([^/]+)$"
    places = ((folder, r"images/\1/\2"), (folder, r"images/\2"), (folder, r"\2"), *DICOM_INSTEAD)
    left_out = {"row without labels": int(unlabelled.sum()), "Projection is EXCLUDE": int(excluded.sum())}
    return replace(rows, instead=places, dropped={reason: count for reason, count in left_out.items() if count})


def _values(text: str) -> list[int]:
    try:
        words = {word.strip() for word in ast.literal_eval(text)} - {""}
    except (SyntaxError, ValueError, TypeError, AttributeError):
        raise InputError(f"{text!r}; expected a list such as ['normal']") from None
    rest = MISSING if not words or words & UNTOLD else 0
    found = {label for label, kinds in WORDS.items() if words.intersection(kinds)}
    if words == {"normal"}:
        found.add(NO_FINDING)
    return [1 if label in found else rest for label in PADCHEST_LABELS]
