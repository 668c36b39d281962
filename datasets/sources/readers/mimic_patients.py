"""Read sex, age and race of MIMIC-CXR's patients from MIMIC-IV's tables of patients and admissions.

Both releases know a patient by the same subject_id, and their dates are shifted alike, so the age at a study is the
anchor age plus the years from the anchor year to the study. Neither table is needed.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from datasets.sources.cells import sexes
from datasets.sources.folders import table_file
from datasets.sources.tables import SourceTable, read_header, read_table

OLDEST = 91
"""Anchor age of all patients above 89."""
RACES = {"WHITE": "White", "BLACK": "Black", "ASIAN": "Asian", "HISPANIC": "Hispanic"}
"""By the first word of MIMIC-IV's value; any other that is known is 'Other'."""
UNKNOWN_RACE = ("", "UNKNOWN", "UNABLE TO OBTAIN", "PATIENT DECLINED TO ANSWER")
RACE_COLUMNS = ("race", "ethnicity")
"""As MIMIC-IV calls it since 2.0, and before."""

logger = logging.getLogger(__name__)


def patient_columns(images: pd.DataFrame, home: Path) -> tuple[dict[str, pd.Series], list[SourceTable]]:
    """Columns sex, age and race of each image, as far as tables tell, and these tables.

    Args:
        images: columns subject_id and, if known, StudyDate (YYYYMMDD).
        home: folder of MIMIC-CXR's tables; those of MIMIC-IV lie in it or beside it, there perhaps in ``hosp/``.

    Raises:
        InputError: when a table is damaged.
    """
    found: dict[str, pd.Series] = {}
    tables: list[SourceTable] = []
    if (file := _mimic_iv_table(home, "patients.csv", ("gender", "anchor_age"))) is not None:
        table = read_table(file, ["subject_id", "gender", "anchor_age"], ["anchor_year"])
        patients = table.frame.drop_duplicates("subject_id").set_index("subject_id")
        found |= {
            "sex": images["subject_id"].map(sexes(patients["gender"])).astype("str"),
            "age": _ages(images, patients),
        }
        tables.append(table.source)
    if (file := _mimic_iv_table(home, "admissions.csv", RACE_COLUMNS)) is not None:
        table = read_table(file, ["subject_id"], RACE_COLUMNS)
        found["race"] = images["subject_id"].map(_races(table.frame)).astype("str")
        tables.append(table.source)
    return found, tables


def _mimic_iv_table(home: Path, name: str, columns: Collection[str]) -> Path | None:
    """The first table of this name by subject_id with one of ``columns``: other projects may have one of it too."""
    for folder in (home, home / "hosp", home.parent, home.parent / "hosp"):
        file = table_file(folder, name)
        if file is not None and "subject_id" in (header := read_header(file)) and set(columns) & set(header):
            logger.info("%s: attributes of patients are taken from it", file)
            return file
    return None


def _ages(images: pd.DataFrame, patients: pd.DataFrame) -> pd.Series:
    """Years at the study; at the anchor year where a date is lacking or the anchor age hidden; else missing."""
    subject, numbers = images["subject_id"], patients.drop(columns="gender").apply(pd.to_numeric, errors="coerce")
    ages = subject.map(numbers["anchor_age"])
    if "StudyDate" in images and "anchor_year" in numbers:
        years = pd.to_numeric(images["StudyDate"].str.slice(0, 4), errors="coerce")
        since = (years - subject.map(numbers["anchor_year"])).fillna(0)
        ages += since.mask(ages >= OLDEST, 0)
    return ages.where(ages >= 0).clip(upper=OLDEST).astype("Int16")


def _races(admissions: pd.DataFrame) -> pd.Series:
    """The group that all admissions of a patient agree on, by subject id; none where they do not."""
    name = next(name for name in RACE_COLUMNS if name in admissions)
    words = admissions[name].str.upper()
    groups = words.str.extract(r"^(\w+)", expand=False).map(RACES).fillna("Other").mask(words.isin(UNKNOWN_RACE))
    known = admissions[["subject_id"]].assign(race=groups).dropna().drop_duplicates()
    return known.drop_duplicates("subject_id", keep=False).set_index("subject_id")["race"]
