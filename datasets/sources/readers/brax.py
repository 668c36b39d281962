"""Read BRAX 1.1.0: CheXpert's labels, read by the same labeller from reports in Portuguese.

Images lie in ``images/`` as PNG; where that folder is not there, they are read as DICOM from ``Anonymized_DICOMs/``.
Ages are given in steps of five years, the oldest as '85 or more'. Twelve images are thin strips; those with one side
over 20 times the other are refused when they are decoded.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from datasets.sources.cells import ages_in_years, read_label_table, sexes, views
from datasets.sources.folders import below, find_home, refusals, table_file
from datasets.sources.labels import CHEXPERT_LABELS
from datasets.sources.rows import SourceRows, source_rows

TABLES = ("master_spreadsheet_update.csv", "master_spreadsheet.csv")
"""The corrected table of release 1.1.0 first."""
REQUIRED = ("PngPath", "DicomPath", "PatientID", "AccessionNumber")
OPTIONAL = ("PatientSex", "PatientAge", "ViewPosition")


def read(root: Path, *, check_files: bool) -> SourceRows:
    """Rows of the spreadsheet; an image's name is its 'PngPath', whichever file is read.

    Raises:
        InputError: when the table is not found, lacks a column, or holds an unknown label value.
    """
    home = find_home(root, TABLES, REQUIRED[:1])
    file = next(file for name in TABLES if (file := table_file(home, name)) is not None)
    table, values = read_label_table(file, REQUIRED, CHEXPERT_LABELS, OPTIONAL)
    frame, names = table.frame, table.frame["PngPath"]
    as_dicom = check_files and not (home / "images").is_dir() and (home / "Anonymized_DICOMs").is_dir()
    paths = frame["DicomPath" if as_dicom else "PngPath"]
    columns = {"raw": paths, "path": below(root, home) + paths, "name": names}
    columns |= {"patient": frame["PatientID"], "study": frame["AccessionNumber"]}
    if "ViewPosition" in frame:
        columns["view"] = views(frame["ViewPosition"])
    if "PatientSex" in frame:
        columns["sex"] = sexes(frame["PatientSex"])
    if "PatientAge" in frame:
        columns["age"] = ages_in_years(frame["PatientAge"].str.removesuffix(" or more"))
    in_form = paths.str.fullmatch(r"(?:images/.+\.png|Anonymized_DICOMs/.+\.dcm)") & (frame["PatientID"] != "")
    reasons = refusals(paths, in_form, "images/id_.../Study_.../Series_.../image-....png and a PatientID")
    looked_in = "images/ and, where that is not there, Anonymized_DICOMs/ beside the table"
    rows = source_rows(table, columns, reasons, values, labels=CHEXPERT_LABELS, looked_in=looked_in)
    return replace(rows, instead=((r"\.png$", ".dcm"),))
