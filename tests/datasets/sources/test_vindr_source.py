"""VinDr-CXR: the majority of three readers, the consensus, Kaggle's boxes, and what is refused."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from datasets.sources.labels import VINDR_LABELS
from datasets.sources.records import read_records

PRINTED = {
    "Pleural Effusion": "Pleural effusion",
    "Pleural_Thickening": "Pleural thickening",
    "Fibrosis": "Pulmonary fibrosis",
    "No Finding": "No finding",
}
COLUMNS = [PRINTED.get(label, label) for label in VINDR_LABELS]
READS = [
    ("aa", "R1", {"Pulmonary fibrosis", "Edema"}),
    ("bb", "R1", {"No finding"}),
    ("aa", "R2", {"Pulmonary fibrosis"}),
    ("aa", "R9", {"COPD"}),
    ("bb", "R2", {"No finding"}),
    ("bb", "R3", {"Rib fracture", "Other diseases"}),
]


def table(reads, columns=COLUMNS):
    """A table of labels; one without readers where a read names none."""
    keys = ["image_id", "rad_id"] if reads[0][1] else ["image_id"]
    lines = [",".join([*keys, *columns])]
    for image, reader, said in reads:
        lines.append(",".join([image, *filter(None, [reader]), *("1" if name in said else "0" for name in columns)]))
    return "\n".join(lines) + "\n"


def make(folder, reads=READS, ending=".dicom"):
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "image_labels_train.csv").write_text(table(reads))
    columns = [name.replace("diseases", "disease") for name in COLUMNS]
    consensus = table([("cc", "", {"Other disease", "Pleural thickening"})], columns)
    (folder / "annotations" / "image_labels_test.csv").write_text(consensus)
    for name in ("train/aa", "train/bb", "test/cc"):
        path = folder / f"{name}{ending}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")


def positives(records):
    return [{VINDR_LABELS[at] for at, value in enumerate(row) if value == 1} for row in records.targets.tolist()]


@pytest.mark.parametrize("ending", [".dicom", ".dcm", ".png", ".jpg"])
@pytest.mark.parametrize("as_parent", [False, True])
def test_majority_and_consensus(tmp_path, as_parent, ending):
    make(tmp_path / "vindr", ending=ending)
    prefix = "vindr/" if as_parent else ""
    records = read_records("vindr_cxr", tmp_path if as_parent else tmp_path / "vindr")
    frame = records.frame
    assert frame["path"].tolist() == [f"{prefix}{name}{ending}" for name in ("test/cc", "train/aa", "train/bb")]
    assert frame["patient"].tolist() == frame["name"].tolist() == ["cc", "aa", "bb"]
    assert frame["official_split"].tolist() == ["test", "train", "train"]
    assert set(frame["view"]) == {"frontal"}
    assert positives(records) == [{"Other diseases", "Pleural_Thickening"}, {"Fibrosis"}, {"No Finding"}]
    assert set(records.targets.ravel().tolist()) == {0, 1}


@given(st.permutations(READS), st.permutations(COLUMNS))
@settings(max_examples=20, deadline=None)
def test_neither_rows_nor_columns_have_an_order(reads, columns):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root)
        (root / "annotations" / "image_labels_train.csv").write_text(table(reads, columns))
        assert positives(read_records("vindr_cxr", root)) == [
            {"Other diseases", "Pleural_Thickening"},
            {"Fibrosis"},
            {"No Finding"},
        ]


def test_kaggles_boxes(tmp_path):
    rows = ["aa,Cardiomegaly,3,R1,1,2,3,4", "aa,Pleural effusion,10,R1,1,2,3,4", "aa,Pleural effusion,10,R1,5,6,7,8"]
    rows += ["aa,Cardiomegaly,3,R2,1,2,3,4", "aa,Other lesion,9,R3,1,2,3,4"]
    rows += [f"bb,No finding,14,R{reader},,,," for reader in (1, 2, 3)]
    (tmp_path / "train").mkdir()
    (tmp_path / "train.csv").write_text(
        "\n".join(["image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max", *rows, ""])
    )
    for name in ("aa", "bb"):
        (tmp_path / "train" / f"{name}.dicom").write_bytes(b"x")
    records = read_records("vindr_cxr", tmp_path)
    assert positives(records) == [{"Cardiomegaly"}, {"No Finding"}]
    missing = {VINDR_LABELS[at] for at, value in enumerate(records.targets[0].tolist()) if value == 255}
    assert len(missing) == 13 and {"Rib fracture", "Pneumonia", "COPD"} <= missing
    (tmp_path / "train.csv").write_text((tmp_path / "train.csv").read_text().replace("Other lesion", "Broken heart"))
    with pytest.raises(
        InputError, match=r"train.csv, row 6: unknown class 'Broken heart'; known: Aortic enlargement"
    ):
        read_records("vindr_cxr", tmp_path)


def test_an_image_that_two_have_read_is_refused(tmp_path):
    make(tmp_path, READS[:-1])
    rejects = read_records("vindr_cxr", tmp_path).rejects
    assert rejects["path"].tolist() == ["bb"]
    assert rejects["reason"].tolist() == ["expected 3 rows, one of each reader"]


def test_a_reader_who_read_an_image_twice(tmp_path):
    make(tmp_path, [*READS, READS[0]])
    with pytest.raises(InputError, match=r"row 8: image aa has a row of this reader already"):
        read_records("vindr_cxr", tmp_path)


def test_a_table_without_readers(tmp_path):
    make(tmp_path)
    path = tmp_path / "annotations" / "image_labels_train.csv"
    path.write_text(path.read_text().replace("rad_id", "who"))
    with pytest.raises(
        InputError, match="no column 'rad_id'; training images have one row for each of their readers"
    ):
        read_records("vindr_cxr", tmp_path)
