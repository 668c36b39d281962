"""PadChest: lists of words as text, what a list leaves unsaid, odd rows, and where images may lie."""

import pytest

from datasets.errors import InputError
from datasets.sources.labels import PADCHEST_LABELS
from datasets.sources.readers.padchest import WORDS
from datasets.sources.records import read_records

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,MethodLabel,"
    "Labels,labelCUIS"
)
ROWS = [
    ("1_a.png", "0", "11", "1930.0", "F", "PA", "['normal']"),
    ("1_b.png", "0", "11", "1930.0", "F", "L", "['pulmonary fibrosis', ' laminar atelectasis', 'pseudonodule', '']"),
    ("2_a.png", "54", "12", "", "O", "AP_horizontal", "['unchanged', 'pleural effusion']"),
    ("3_a.png", "54", "12", "1990.0", "nan", "COSTAL", "['']"),
    ("3_b.png", "54", "13", "1990.0", "M", "UNK", "['nodule', ' normal']"),
    ("4_a.png", "54", "13", "1990.0", "M", "EXCLUDE", "['exclude']"),
    ("4_b.png", "54", "13", "1990.0", "M", "PA", "nan"),
]


def make(folder, rows=ROWS, place="{folder}/{name}", ending=".png"):
    lines = []
    for number, (name, where, patient, born, sex, view, labels) in enumerate(rows):
        cells = [number, name, where, "20150914", f"s{patient}", patient, born, sex, view, "Physician"]
        lines.append(",".join([*map(str, cells), f'"{labels}"', "\"['C1'\n 'C2']\""]))
    folder.mkdir(exist_ok=True)
    (folder / TABLE).write_text("\n".join([HEADER, *lines, ""]))
    for name, where, *_ in rows:
        path = folder / place.format(folder=where, name=name.replace(".png", ending))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def told(records, row, value):
    return {
        label for label, target in zip(PADCHEST_LABELS, records.targets[row].tolist(), strict=True) if target == value
    }


def test_words_are_labels_and_unsaid_ones_are_missing(tmp_path):
    make(tmp_path / "padchest")
    records = read_records("padchest", tmp_path, uncertain="one")
    frame = records.frame
    assert frame["path"].tolist() == [f"padchest/{where}/{name}" for name, where, *_ in ROWS[:5]]
    assert frame["patient"].tolist() == ["11", "11", "12", "12", "13"]
    assert frame["view"].tolist() == ["frontal", "lateral", "frontal", "unknown", "unknown"]
    assert frame["sex"].astype("str").fillna("?").tolist() == ["F", "F", "?", "?", "M"]
    assert frame["age"].isna().tolist() == [False, False, True, False, False] and frame["age"][0] == 85
    assert [told(records, row, 1) for row in range(5)] == [
        {"No Finding"},
        {"Fibrosis", "Atelectasis"},
        {"Effusion"},
        set(),
        {"Nodule"},
    ]
    known = set(PADCHEST_LABELS)
    assert [told(records, row, 255) for row in range(5)] == [set(), set(), known - {"Effusion"}, known, set()]
    assert records.dropped == {"row without labels": 1, "Projection is EXCLUDE": 1}
    assert records.tables[0].num_rows == 7 and records.rejects.empty


@pytest.mark.parametrize("ending", [".png", ".dcm"])
@pytest.mark.parametrize("place", ["images/{folder}/{name}", "images/{name}", "{name}"])
def test_places_of_images(tmp_path, place, ending):
    if ending == ".dcm":
        place = "{folder}/{name}"
    make(tmp_path, place=place, ending=ending)
    records = read_records("padchest", tmp_path)
    expected = [place.format(folder=where, name=name.replace(".png", ending)) for name, where, *_ in ROWS[:5]]
    assert records.frame["path"].tolist() == sorted(expected)
    assert records.frame["name"].tolist() == [name for name, *_ in ROWS[:5]]


def test_every_label_but_no_finding_has_words_and_no_word_is_written_twice():
    assert set(WORDS) == set(PADCHEST_LABELS) - {"No Finding"}
    assert all(
        len(words) == len(set(words)) and all(word == word.strip() for word in words) for words in WORDS.values()
    )


@pytest.mark.parametrize("cell", ["normal", "['normal'", "5", "[[]]"])
def test_a_cell_that_is_no_list(tmp_path, cell):
    make(tmp_path, [(*ROWS[0][:6], cell)])
    with pytest.raises(InputError, match=r"row 2, column 'Labels': .*; expected a list such as \['normal'\]"):
        read_records("padchest", tmp_path)


def test_names_that_leave_the_folder_are_refused(tmp_path):
    make(tmp_path, [*ROWS[:2], ("x.png", "..", *ROWS[0][2:])])
    rejects = read_records("padchest", tmp_path).rejects
    assert rejects["reason"].tolist() == ["expected NNN.png in a numbered folder"]
    assert rejects["row"].tolist() == [4]


@pytest.mark.parametrize("cut", [4, 8, 60])
def test_a_table_that_is_cut_short_is_refused(tmp_path, cut):
    make(tmp_path)
    (tmp_path / TABLE).write_text((tmp_path / TABLE).read_text()[:-cut])
    with pytest.raises(InputError, match="the file may be cut short"):
        read_records("padchest", tmp_path)
