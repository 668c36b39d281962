"""CheXpert: layouts, oddities of its tables, and what is refused."""

import gzip
import random

import numpy as np
import pandas as pd
import pytest

from datasets.errors import InputError
from datasets.sources.labels import CHEXPERT_LABELS
from datasets.sources.records import read_records

HEADER = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS]
ROWS = [
    ("train/patient00002/study2/view1_frontal.jpg", "Male", "90", {"No Finding": "1.0", "Support Devices": "1.0"}),
    ("train/patient00001/study1/view1_frontal.jpg", "Female", "68", {"Edema": "-1.0", "Fracture": "0.0"}),
    ("train/patient00001/study1/view2_lateral.jpg", "Female", "68", {"Edema": "-1.0", "Fracture": "0.0"}),
    ("train/patient00003/study1/view1_lateral.jpg", "Unknown", "0", {"Pneumonia": "1.0"}),
]
VALID = [("valid/patient64541/study1/view1_frontal.jpg", "Male", "73", {"Cardiomegaly": "1.0"})]
SMALL, FULL = "CheXpert-v1.0-small", "CheXpert-v1.0"


def table(rows, prefix=f"{SMALL}/"):
    lines = [",".join(HEADER)]
    for path, sex, age, values in rows:
        view = "Lateral" if "lateral" in path else "Frontal"
        cells = [values.get(label, "") for label in CHEXPERT_LABELS]
        lines.append(",".join([prefix + path, sex, age, view, "AP" if view == "Frontal" else "", *cells]))
    return "\n".join(lines) + "\n"


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def make(folder, prefix=f"{SMALL}/", valid=True):
    put(folder / "train.csv", table(ROWS, prefix))
    for path, *_ in ROWS:
        put(folder / path)
    if valid:
        put(folder / "valid.csv", table(VALID, prefix))
        put(folder / VALID[0][0])


def test_schema_labels_and_pooling(tmp_path):
    make(tmp_path)
    records = read_records("chexpert", tmp_path)
    frame = records.frame
    assert records.labels == CHEXPERT_LABELS
    assert frame.columns.tolist() == ["path", "name", "patient", "study", "view", "official_split", "sex", "age"]
    assert frame["path"].tolist() == sorted(path for path, *_ in ROWS + VALID)
    assert frame["patient"].tolist() == ["00001", "00001", "00002", "00003", "64541"]
    assert frame["study"].tolist() == ["1", "1", "2", "1", "1"]
    assert frame["view"].tolist() == ["frontal", "lateral", "frontal", "lateral", "frontal"]
    assert frame["official_split"].tolist() == ["train"] * 4 + ["validation"]
    assert frame["sex"].astype("str").fillna("?").tolist() == ["F", "F", "M", "?", "M"]
    assert frame["age"].tolist() == [68, 68, 90, 0, 73]
    assert records.targets.dtype == np.uint8
    positives = [[CHEXPERT_LABELS[i] for i in np.flatnonzero(row == 1)] for row in records.targets]
    assert positives == [[], [], ["No Finding", "Support Devices"], ["Pneumonia"], ["Cardiomegaly"]]
    assert [(table.name, table.num_rows) for table in records.tables] == [("train.csv", 4), ("valid.csv", 1)]
    assert records.rejects.empty and records.dropped == {}


@pytest.mark.parametrize(("policy", "value"), [("zero", 0), ("one", 1), ("ignore", 255)])
def test_uncertain(tmp_path, policy, value):
    make(tmp_path)
    records = read_records("chexpert", tmp_path, uncertain=policy)
    targets, marks = records.targets, records.uncertain_at
    assert marks[:, CHEXPERT_LABELS.index("Edema")].tolist() == [True, True, False, False, False]
    assert targets[:2, CHEXPERT_LABELS.index("Edema")].tolist() == [value, value]
    assert targets[2:, CHEXPERT_LABELS.index("Edema")].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("release", "as_parent"), [(SMALL, True), (SMALL, False), (FULL, True), (FULL, False)])
def test_both_releases_and_root_or_parent(tmp_path, release, as_parent):
    make(tmp_path / release, prefix=f"{release}/")
    root = tmp_path if as_parent else tmp_path / release
    frame = read_records("chexpert", root).frame
    assert len(frame) == 5
    assert all((root / path).is_file() for path in frame["path"])
    assert frame["name"].tolist() == sorted(path for path, *_ in ROWS + VALID)


def test_tables_beside_the_release_folder(tmp_path):
    for path, *_ in ROWS:
        put(tmp_path / FULL / path)
    put(tmp_path / "train.csv", table(ROWS, f"{FULL}/"))
    assert read_records("chexpert", tmp_path).frame["path"].tolist()[0].startswith(f"{FULL}/train/patient00001")


def test_batch_folders(tmp_path):
    first, second, third = (f"CheXpert-v1.0 batch {n} ({what})" for n, what in
                            [(1, "validate & csv"), (2, "train 1"), (4, "train 3")])  # fmt: skip
    put(tmp_path / first / "train.csv", table(ROWS, f"{FULL}/"))
    put(tmp_path / first / "valid.csv", table(VALID, f"{FULL}/"))
    put(tmp_path / first / VALID[0][0])
    for path, *_ in ROWS:
        put(tmp_path / (third if "00003" in path else second) / path.removeprefix("train/"))
    frame = read_records("chexpert", tmp_path).frame
    assert frame.set_index("name")["path"].to_dict() == {
        VALID[0][0]: f"{first}/{VALID[0][0]}",
        **{path: f"{third if '00003' in path else second}/{path.removeprefix('train/')}" for path, *_ in ROWS},
    }


def test_gzipped_table_without_valid(tmp_path):
    make(tmp_path, valid=False)
    put(tmp_path / "train.csv.gz", gzip.compress((tmp_path / "train.csv").read_bytes()))
    (tmp_path / "train.csv").unlink()
    records = read_records("chexpert", tmp_path)
    assert len(records.frame) == 4
    assert records.tables[0].name == "train.csv.gz"


def test_views_are_dropped_and_counted_and_patients_stay(tmp_path):
    make(tmp_path)
    frontal = read_records("chexpert", tmp_path, views="frontal")
    lateral = read_records("chexpert", tmp_path, views="lateral")
    assert set(frontal.frame["view"]) == {"frontal"} and frontal.dropped == {"view is lateral": 2}
    assert set(lateral.frame["view"]) == {"lateral"} and lateral.dropped == {"view is frontal": 3}
    assert frontal.patients == lateral.patients == ("00001", "00002", "00003", "64541")


def test_missing_image_is_listed(tmp_path):
    make(tmp_path)
    (tmp_path / ROWS[0][0]).unlink()
    records = read_records("chexpert", tmp_path)
    assert len(records.frame) == len(records.targets) == 4
    assert records.rejects.to_dict("records") == [
        {"path": ROWS[0][0], "reason": "no such file", "table": "train.csv", "row": 2}
    ]


def test_folder_in_place_of_an_image_is_no_image(tmp_path):
    make(tmp_path)
    (tmp_path / ROWS[0][0]).unlink()
    (tmp_path / ROWS[0][0]).mkdir()
    assert read_records("chexpert", tmp_path).rejects["reason"].tolist() == ["no such file"]


def test_rows_that_leave_the_root_are_listed(tmp_path):
    make(tmp_path)
    bad = ["/etc/train/patient00001/study1/view1_frontal.jpg", f"{SMALL}/../secret.jpg", "C:\\x.jpg", "train/cat.jpg"]
    more = [(path, "Male", "1", {}) for path in bad]
    put(tmp_path / "train.csv", table(ROWS) + "".join(table(more, "").partition("\n")[2]))
    records = read_records("chexpert", tmp_path)
    assert len(records.frame) == 5
    reasons = records.rejects.set_index("path")["reason"].to_dict()
    assert reasons[bad[0]] == reasons[bad[2]] == "points outside the root: an absolute path"
    assert reasons[bad[1]] == "points outside the root: '..'"
    assert reasons[bad[3]].startswith("expected CheXpert-v1.0/train/patientNNNNN")
    assert records.rejects.set_index("path")["row"].to_dict()[bad[0]] == 6
    assert sum(t.num_rows for t in records.tables) == len(records.frame) + len(records.rejects)


def test_no_image_at_all(tmp_path):
    put(tmp_path / "train.csv", table(ROWS))
    with pytest.raises(
        InputError, match=r"none of the 4 images of the tables was found; looked in train/ and valid/"
    ):
        read_records("chexpert", tmp_path)
    assert len(read_records("chexpert", tmp_path, check_files=False).frame) == 4


def test_duplicates_name_their_rows(tmp_path):
    make(tmp_path)
    put(tmp_path / "train.csv", table([*ROWS, ROWS[0], ROWS[1]]))
    with pytest.raises(
        InputError, match=r"listed more than once \(train.csv row 2, train.csv row 6\), and 1 other images"
    ):
        read_records("chexpert", tmp_path)


def test_no_tables(tmp_path):
    with pytest.raises(InputError, match=r"no table found; looked for train.csv\[.gz\]"):
        read_records("chexpert", tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read_records("chexpert", tmp_path / "absent")


def test_two_releases_below_one_root(tmp_path):
    make(tmp_path / SMALL)
    make(tmp_path / FULL, prefix=f"{FULL}/")
    with pytest.raises(InputError, match=r"more than one folder \(CheXpert-v1.0, CheXpert-v1.0-small\)"):
        read_records("chexpert", tmp_path)


def test_table_of_another_dataset(tmp_path):
    put(tmp_path / "train.csv", "path,view\nx,y\n")
    with pytest.raises(InputError, match=r"no column for the label|no column 'Path'"):
        read_records("chexpert", tmp_path)


def test_header_alone(tmp_path):
    put(tmp_path / "train.csv", table([]))
    with pytest.raises(InputError, match=r"train.csv: no row names an image"):
        read_records("chexpert", tmp_path)


def test_unknown_dataset_and_view(tmp_path):
    make(tmp_path)
    with pytest.raises(InputError, match="unknown dataset 'nowhere'; known: chexpert, chestxray14"):
        read_records("nowhere", tmp_path)
    with pytest.raises(InputError, match="views = 'oblique' is unknown"):
        read_records("chexpert", tmp_path, views="oblique")


def test_row_order_does_not_matter(tmp_path):
    make(tmp_path)
    first = read_records("chexpert", tmp_path)
    for seed in range(4):
        rows = random.Random(seed).sample(ROWS, len(ROWS))
        put(tmp_path / "train.csv", table(rows))
        again = read_records("chexpert", tmp_path)
        pd.testing.assert_frame_equal(again.frame, first.frame)
        assert np.array_equal(again.targets, first.targets)
        assert again.patients == first.patients


def test_dicom_files_are_read_where_there_is_no_jpg(tmp_path):
    make(tmp_path)
    jpg = tmp_path / ROWS[0][0]
    jpg.rename(jpg.with_suffix(".dcm"))
    frame = read_records("chexpert", tmp_path).frame
    assert frame["path"].str.endswith(".dcm").tolist() == [name == ROWS[0][0] for name in frame["name"]]
    assert (tmp_path / frame["path"][2]).is_file()
