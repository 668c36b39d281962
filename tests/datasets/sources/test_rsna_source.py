"""RSNA Pneumonia: one row an image, patients and names of ChestX-ray14, and what its classes leave unsaid."""

import json

import pytest
from dicom_kinds import dicom_file
from image_kinds import picture

from datasets.errors import InputError
from datasets.sources.labels import RSNA_LABELS
from datasets.sources.records import read_records

IMAGES = {
    "0004cfab-14fd-4e49-80ba-63a80b6bddd6": ("00000011_000.png", "0", "No Lung Opacity / Not Normal"),
    "00313ee0-9eaa-42f4-b0ab-c148ed3241cd": ("00000011_004.png", "0", "Normal"),
    "00436515-870c-4b36-a041-de91049b9ab4": ("00030805_001.png", "1", "Lung Opacity"),
}
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
LABELS, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"


def make(folder, ending=".dcm"):
    images = folder / "stage_2_train_images"
    images.mkdir(parents=True)
    boxes = {"1": ["264.0,152.0,213.0,379.0", "562.0,152.0,256.0,453.0"], "0": [",,,"]}
    rows = [f"{name},{box},{target}" for name, (_, target, _) in IMAGES.items() for box in boxes[target]]
    (folder / LABELS).write_text("\n".join(["patientId,x,y,width,height,Target", *rows, ""]))
    rows = [f"{name},{word}" for name, (_, target, word) in IMAGES.items() for _ in boxes[target]]
    (folder / CLASSES).write_text("\n".join(["patientId,class", *rows, ""]))
    entries = [{"subset_img_id": name, "img_id": told[0], "SOPInstanceUID": "1.2"} for name, told in IMAGES.items()]
    (folder / MAPPING).write_text(json.dumps(entries))
    for number, name in enumerate(IMAGES):
        (images / f"{name}{ending}").write_bytes(dicom_file(picture(40, 40, number)))
    return folder


@pytest.mark.parametrize("ending", [".dcm", ".png", ".jpg"])
def test_patients_and_names_are_those_of_chestxray14(tmp_path, ending):
    make(tmp_path / "rsna", ending)
    records = read_records("rsna_pneumonia", tmp_path)
    frame = records.frame
    assert frame["path"].tolist() == [f"rsna/stage_2_train_images/{name}{ending}" for name in IMAGES]
    assert frame["name"].tolist() == ["00000011_000.png", "00000011_004.png", "00030805_001.png"]
    assert frame["patient"].tolist() == ["00000011", "00000011", "00030805"]
    assert frame["study"].tolist() == ["000", "004", "001"]
    assert set(frame["view"]) == {"frontal"}
    assert records.labels == RSNA_LABELS == ("Pneumonia", "Lung Opacity", "No Finding")
    assert records.targets.tolist() == [[0, 255, 0], [0, 0, 1], [1, 1, 0]]
    assert records.rejects.empty and [table.num_rows for table in records.tables] == [4, 4, 3]


def test_without_classes_what_they_would_say_is_missing(tmp_path):
    (make(tmp_path) / CLASSES).unlink()
    assert read_records("rsna_pneumonia", tmp_path).targets.tolist() == [[0, 255, 255], [0, 255, 255], [1, 1, 0]]


def test_ages_and_sexes_of_the_table_of_headers(tmp_path):
    names = list(IMAGES)
    text = f"PatientID,PatientAge,PatientSex\n{names[2]},155,M\n{names[0]},51,F\n"
    (make(tmp_path) / "kaggle_stage_2_train_images_dicom_headers.csv").write_text(text)
    frame = read_records("rsna_pneumonia", tmp_path).frame
    assert frame["age"].astype("object").where(frame["age"].notna(), None).tolist() == [51, None, None]
    assert frame["sex"].astype("str").fillna("?").tolist() == ["F", "?", "M"]


def test_an_image_that_the_mapping_lacks_is_refused(tmp_path):
    entries = json.loads((make(tmp_path) / MAPPING).read_text())
    (tmp_path / MAPPING).write_text(json.dumps(entries[1:]))
    rejects = read_records("rsna_pneumonia", tmp_path).rejects
    assert rejects["path"].tolist() == [next(iter(IMAGES))]
    assert rejects["reason"].tolist() == [f"expected a patientId that {MAPPING} names"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (LABELS, ",,,0\n00313", ",,,2\n00313", "row 2, column 'Target': '2'; expected 0 or 1"),
        (LABELS, "379.0,1", "379.0,0", r"row 5: patientId 00436515.* has Target '1', but another one in a row above"),
        (CLASSES, "Normal\n00436", "Fine\n00436", "row 3, column 'class': 'Fine'; expected a class of the challenge"),
        (CLASSES, ",Normal", ",Lung Opacity", "00313ee0.* is 'Lung Opacity', but its Target in stage_2_.* otherwise"),
        (MAPPING, "img_id", "image", "not a list of entries with 'subset_img_id' and 'img_id'; fetch it again"),
    ],
)
def test_tables_that_contradict_themselves(tmp_path, file, old, new, message):
    text = (make(tmp_path) / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_records("rsna_pneumonia", tmp_path)


def test_the_mapping_is_needed(tmp_path):
    (make(tmp_path) / MAPPING).unlink()
    with pytest.raises(InputError, match=rf"no {MAPPING}\[.gz\]; it tells which image of ChestX-ray14.* fetch it"):
        read_records("rsna_pneumonia", tmp_path)
