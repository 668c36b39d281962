"""BRAX: CheXpert's labels, ages in steps, PNG or DICOM, and what is refused."""

import pytest

from datasets.errors import InputError
from datasets.sources.labels import CHEXPERT_LABELS
from datasets.sources.records import read_records

HEADER = ",DicomPath,PngPath,PatientID,PatientSex,PatientAge,AccessionNumber,StudyDate"
IMAGES = [
    ("id_1/Study_7/Series_1/image-1", "id_1", "M", "85 or more", "7", {"Edema": "1.0"}, "PA"),
    ("id_1/Study_7/Series_1/image-2", "id_1", "M", "85 or more", "7", {"Edema": "-1.0", "Fracture": "0.0"}, "L"),
    ("id_2/Study_8/Series_1/image-1", "id_2", "O", "60", "8", {"No Finding": "1.0"}, ""),
    ("id_3/Study_9/Series_2/image-1", "id_3", "F", "35", "9", {}, "RLD"),
]


def make(folder, tree="images", ending=".png", table="master_spreadsheet_update.csv"):
    lines = [",".join([HEADER, *CHEXPERT_LABELS, "ViewPosition,Rows,Columns,Manufacturer"])]
    for number, (name, patient, sex, age, study, said, view) in enumerate(IMAGES):
        cells = [str(number), f"Anonymized_DICOMs/{name}.dcm", f"images/{name}.png", patient, sex, age, study]
        values = [said.get(label, "") for label in CHEXPERT_LABELS]
        lines.append(",".join([*cells, "20080103", *values, view, "1761", "1760", "2"]))
        path = folder / tree / f"{name}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (folder / table).write_text("\n".join([*lines, ""]))
    return folder


@pytest.mark.parametrize(("tree", "ending"), [("images", ".png"), ("images", ".dcm"), ("Anonymized_DICOMs", ".dcm")])
def test_labels_attributes_and_files(tmp_path, tree, ending):
    make(tmp_path / "brax", tree, ending)
    records = read_records("brax", tmp_path, uncertain="ignore")
    frame = records.frame
    assert frame["path"].tolist() == [f"brax/{tree}/{name}{ending}" for name, *_ in IMAGES]
    assert frame["name"].tolist() == [f"images/{name}.png" for name, *_ in IMAGES]
    assert frame["patient"].tolist() == ["id_1", "id_1", "id_2", "id_3"]
    assert frame["study"].tolist() == ["7", "7", "8", "9"]
    assert frame["view"].tolist() == ["frontal", "lateral", "unknown", "unknown"]
    assert frame["age"].tolist() == [85, 85, 60, 35]
    assert frame["sex"].astype("str").fillna("?").tolist() == ["M", "M", "?", "F"]
    edema = records.targets[:, CHEXPERT_LABELS.index("Edema")].tolist()
    assert records.labels == CHEXPERT_LABELS and edema == [1, 255, 0, 0]


def test_the_first_release_is_read_and_the_correction_preferred(tmp_path):
    make(tmp_path, table="master_spreadsheet.csv")
    assert [table.name for table in read_records("brax", tmp_path).tables] == ["master_spreadsheet.csv"]
    make(tmp_path)
    assert [table.name for table in read_records("brax", tmp_path).tables] == ["master_spreadsheet_update.csv"]


def test_an_image_without_a_patient_is_refused(tmp_path):
    path = make(tmp_path) / "master_spreadsheet_update.csv"
    path.write_text(path.read_text().replace(",id_3,", ",,"))
    rejects = read_records("brax", tmp_path).rejects
    assert rejects["row"].tolist() == [5] and "and a PatientID" in rejects["reason"].iat[0]


def test_a_table_without_a_label(tmp_path):
    path = make(tmp_path) / "master_spreadsheet_update.csv"
    path.write_text(path.read_text().replace("Pleural Other", "Pleura"))
    with pytest.raises(InputError, match="no column for the label Pleural Other"):
        read_records("brax", tmp_path)
