"""MIMIC-CXR: labels joined by study and mapped by name, both layouts, official split, and what is refused."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_kinds import dicom_file
from image_kinds import encode, picture
from PIL import Image

from datasets.beton.reader import Beton
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.errors import InputError
from datasets.images.resize import fit
from datasets.sources.folders import existing
from datasets.sources.labels import CHEXPERT_LABELS
from datasets.sources.records import read_records
from datasets.splits.split import SplitConfig, assign_splits, subset_ranks

ALPHABETICAL = sorted(CHEXPERT_LABELS)
STUDIES = {
    ("10000032", "50414267"): {"Edema": "-1.0", "Lung Opacity": "1.0"},
    ("10000032", "53189527"): {"No Finding": "1.0"},
    ("11000764", "57375967"): {"Support Devices": "1.0", "Atelectasis": "0.0"},
}
IMAGES = [
    ("02aa804e", "10000032", "50414267", "PA", "train"),
    ("174413ec", "10000032", "50414267", "LATERAL", "train"),
    ("2a2277a9", "10000032", "53189527", "AP", "train"),
    ("68b5c4b1", "11000764", "57375967", "LL", "validate"),
    ("8959e402", "11000764", "57375967", "", "validate"),
    ("ffff0000", "12000000", "59999999", "AP", "test"),
]


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def image_path(dicom, subject, study):
    return f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}.jpg"


def label_table(studies=STUDIES, labels=ALPHABETICAL):
    lines = [",".join(["subject_id", "study_id", *labels])]
    lines += [",".join([*key, *(values.get(label, "") for label in labels)]) for key, values in studies.items()]
    return "\n".join(lines) + "\n"


def metadata(images=IMAGES):
    lines = ["dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows"]
    lines += [f'{dicom},{subject},{study},"CHEST (PA, LAT)",{view},3056' for dicom, subject, study, view, _ in images]
    return "\n".join(lines) + "\n"


def split_table(images=IMAGES):
    return "dicom_id,study_id,subject_id,split\n" + "".join(f"{i[0]},{i[2]},{i[1]},{i[4]}\n" for i in images)


def make(folder, packed=False, **tables):
    contents = {"chexpert": label_table(), "metadata": metadata(), "split": split_table(), **tables}
    for part, text in contents.items():
        if text is not None:
            name = f"mimic-cxr-2.0.0-{part}.csv"
            put(folder / (f"{name}.gz" if packed else name), gzip.compress(text.encode()) if packed else text)
    for dicom, subject, study, *_ in IMAGES:
        put(folder / image_path(dicom, subject, study))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("as_parent", [False, True])
def test_schema_join_and_label_order(tmp_path, packed, as_parent):
    make(tmp_path / "mimic-cxr-jpg", packed=packed)
    root = tmp_path if as_parent else tmp_path / "mimic-cxr-jpg"
    records = read_records("mimic_cxr", root)
    frame = records.frame
    assert records.labels == CHEXPERT_LABELS
    assert all((root / path).is_file() for path in frame["path"])
    assert frame["patient"].tolist() == ["10000032"] * 3 + ["11000764"] * 2
    assert frame["study"].tolist() == ["50414267"] * 2 + ["53189527"] + ["57375967"] * 2
    assert frame["view"].tolist() == ["frontal", "lateral", "frontal", "lateral", "unknown"]
    assert frame["official_split"].tolist() == ["train"] * 3 + ["validation"] * 2
    positives = [[CHEXPERT_LABELS[i] for i in np.flatnonzero(row)] for row in records.targets]
    assert positives == [["Lung Opacity"], ["Lung Opacity"], ["No Finding"], ["Support Devices"], ["Support Devices"]]
    assert records.dropped == {"study without a label row": 1}
    assert records.patients == ("10000032", "11000764")


def test_label_columns_in_any_order_give_the_same_targets(tmp_path):
    make(tmp_path / "a")
    make(tmp_path / "b", chexpert=label_table(labels=list(reversed(CHEXPERT_LABELS))))
    a, b = (read_records("mimic_cxr", tmp_path / name, uncertain="ignore") for name in "ab")
    assert np.array_equal(a.targets, b.targets)
    assert a.targets[0, CHEXPERT_LABELS.index("Edema")] == 255


def test_views(tmp_path):
    make(tmp_path)
    records = read_records("mimic_cxr", tmp_path, views="frontal")
    assert records.dropped == {"study without a label row": 1, "view is lateral": 2, "view is unknown": 1}
    assert len(records.frame) == 2


def test_without_split_table(tmp_path):
    make(tmp_path, split=None)
    assert set(read_records("mimic_cxr", tmp_path).frame["official_split"]) == {""}


def test_images_without_files_folder(tmp_path):
    make(tmp_path)
    (tmp_path / "files" / "p10").rename(tmp_path / "p10")
    (tmp_path / "files" / "p11").rename(tmp_path / "p11")
    assert read_records("mimic_cxr", tmp_path).frame["path"].iloc[0].startswith("p10/p10000032/")


def test_refused_rows(tmp_path):
    images = [*IMAGES, ("../../x", "10000032", "50414267", "PA", "train"), ("0gone", *IMAGES[0][1:])]
    make(tmp_path, metadata=metadata(images))
    rejects = read_records("mimic_cxr", tmp_path).rejects
    assert rejects["reason"].tolist() == ["points outside the root: '..'", "no such file"]
    assert rejects["row"].tolist() == [8, 9]
    assert set(rejects["table"]) == {"mimic-cxr-2.0.0-metadata.csv"}


def dicom(stored):
    """A file as the original release has it: a gray image behind a window over all of its values."""
    window = {"WindowCenter": "127.5", "WindowWidth": "255", "VOILUTFunction": "LINEAR_EXACT"}
    return dicom_file(stored, **window)


def test_dicom_files_are_read_where_there_is_no_jpg(tmp_path):
    pictures = [picture(96, 80, number) for number in range(len(IMAGES))]
    make(tmp_path)
    for number, (name, subject, study, *_) in enumerate(IMAGES):
        jpg = tmp_path / image_path(name, subject, study)
        put(jpg.with_suffix(".dcm"), dicom(pictures[number] if number else 255 - pictures[0]))
        jpg.unlink()
    first, last = (tmp_path / image_path(*IMAGES[number][:3]) for number in (0, 4))
    put(first, encode(Image.fromarray(pictures[0]), "JPEG", quality=100))
    last.with_suffix(".dcm").unlink()
    records = read_records("mimic_cxr", tmp_path)
    assert [Path(path).suffix for path in records.frame["path"]] == [".jpg", ".dcm", ".dcm", ".dcm"]
    assert all((tmp_path / path).is_file() for path in records.frame["path"])
    assert all(name.endswith(".jpg") for name in records.frame["name"])
    assert records.rejects["path"].tolist() == [image_path(*IMAGES[4][:3])]
    assert records.rejects["reason"].tolist() == ["no such file"]

    splits = assign_splits(records, SplitConfig())
    ranks = subset_ranks(records.frame["name"], splits, 0)
    out = tmp_path / "mimic.beton"
    assert convert(records, splits, ranks, out, ConvertOptions(size=32, workers=1, max_rejects=1.0)).num_samples == 4
    beton = Beton.open(out)
    for index in range(4):
        difference = beton.page(index).astype(int) - fit(pictures[index], 32)
        assert np.abs(difference).max() <= (2 if index == 0 else 1)


def test_splits_are_the_same_for_both_releases(tmp_path):
    for release, suffix in (("jpg", ".jpg"), ("dicom", ".dcm")):
        make(tmp_path / release)
        for path in list((tmp_path / release).rglob("*.jpg")):
            path.rename(path.with_suffix(suffix))
    jpg, dcm = (read_records("mimic_cxr", tmp_path / release) for release in ("jpg", "dicom"))
    assert jpg.frame["name"].tolist() == dcm.frame["name"].tolist()
    assert len(jpg.rejects) == len(dcm.rejects) == 0
    for seed in range(3):
        splits = [assign_splits(records, SplitConfig(seed=seed)) for records in (jpg, dcm)]
        assert splits[0].tolist() == splits[1].tolist()
        ranks = [subset_ranks(records.frame["name"], splits[0], seed) for records in (jpg, dcm)]
        assert ranks[0].tolist() == ranks[1].tolist()


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({"metadata": None}, r"no mimic-cxr-2.0.0-metadata.csv\[.gz\]; MIMIC-CXR-JPG needs"),
        (
            {"chexpert": label_table() + label_table().splitlines()[1] + "\n"},
            "row 5: subject 10000032, study 50414267 has a label row already",
        ),
        (
            {"metadata": metadata([*IMAGES, IMAGES[0]])},
            r"02aa804e.jpg is listed more than once \(.* row 2, .* row 8\)",
        ),
        ({"metadata": metadata([("d", "1e7", "5", "AP", "train")])}, "column 'subject_id': '1e7'; expected a number"),
        ({"split": split_table() + "zzz,1,1,dev\n"}, "row 8: split 'dev'; expected train, validate, test"),
        ({"split": split_table() + split_table().splitlines()[1]}, "row 8: the dicom_id is there twice"),
        ({"chexpert": label_table(labels=ALPHABETICAL[1:])}, "no column for the label Atelectasis"),
        ({"chexpert": label_table().replace("-1.0", "maybe")}, "row 2, column 'Edema': 'maybe'"),
    ],
)
def test_tables_that_stop_the_reading(tmp_path, tables, problem):
    make(tmp_path, **tables)
    with pytest.raises(InputError, match=problem):
        read_records("mimic_cxr", tmp_path)


def test_no_tables_of_either_layout(tmp_path):
    with pytest.raises(InputError, match=r"looked for mimic-cxr-2.0.0-chexpert.csv\[.gz\], train.csv\[.gz\]"):
        read_records("mimic_cxr", tmp_path)


V1_LABELS = ["Airspace Opacity" if label == "Lung Opacity" else label for label in CHEXPERT_LABELS]
V1_LABELS[3], V1_LABELS[4] = V1_LABELS[4], V1_LABELS[3]


def v1_table(rows):
    lines = [",".join(["path", "view", *V1_LABELS])]
    for path, values in rows:
        lines.append(",".join([path, "frontal", *(values.get(label, "") for label in V1_LABELS)]))
    return "\n".join(lines) + "\n"


def test_v1_layout(tmp_path):
    train = [
        ("train/p10524315/s01/view1_frontal.jpg", {"Airspace Opacity": "1.0"}),
        ("train/p10524315/s01/view2_lateral.jpg", {"Airspace Opacity": "1.0"}),
        ("train/p10999999/s02/view1_other.jpg", {"Lung Lesion": "1.0"}),
    ]
    valid = [("valid/p10228846/s01/view1_frontal.jpg", {"Edema": "-1.0"})]
    put(tmp_path / "train.csv", v1_table(train))
    put(tmp_path / "valid.csv.gz", gzip.compress(v1_table(valid).encode()))
    for path, _ in train + valid:
        put(tmp_path / path)
    records = read_records("mimic_cxr", tmp_path, uncertain="one")
    frame = records.frame
    assert frame["patient"].tolist() == ["10524315", "10524315", "10999999", "10228846"]
    assert frame["view"].tolist() == ["frontal", "lateral", "unknown", "frontal"]
    assert frame["official_split"].tolist() == ["train"] * 3 + ["validation"]
    positives = [[CHEXPERT_LABELS[i] for i in np.flatnonzero(row)] for row in records.targets]
    assert positives == [["Lung Opacity"], ["Lung Opacity"], ["Lung Lesion"], ["Edema"]]


@pytest.mark.parametrize("count", [2, 6])
def test_a_folder_that_nobody_may_read_is_named(tmp_path, monkeypatch, count):
    folder = tmp_path / "files"
    refused = PermissionError(13, "Permission denied", str(folder))

    def refuse(path, *_, **__):
        if str(path).startswith(str(folder)):
            raise refused
        return found(path)

    found = os.stat
    monkeypatch.setattr(os, "stat", refuse)  # root may read everything
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="files"):
        existing(tmp_path, pd.Series([f"files/{number}.jpg" for number in range(count)]))


PATIENTS = """subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod
10000032,F,52,2180,2014 - 2016,2180-09-09
11000764,M,91,2150,2011 - 2013,
"""
ADMISSIONS = """subject_id,hadm_id,admittime,race
10000032,1,2180-05-06 22:23:00,BLACK/CAPE VERDEAN
10000032,2,2180-06-26 18:27:00,UNKNOWN
10000032,3,2180-08-05 23:44:00,Black/African American
11000764,4,2150-01-01 00:00:00,WHITE - RUSSIAN
11000764,5,2150-02-01 00:00:00,PORTUGUESE
"""


def dated(text, year):
    """Metadata with a StudyDate in that year."""
    head, *lines = text.splitlines()
    return "\n".join([f"{head},StudyDate", *(f"{line},{year}0506" for line in lines)]) + "\n"


@pytest.mark.parametrize("place", ["", "hosp/", "../", "../hosp/"])
def test_sex_age_and_race_come_from_the_tables_of_mimic_iv(tmp_path, place):
    root = tmp_path / "mimic-cxr-jpg"
    make(root, metadata=dated(metadata(), 2183))
    put(root / place / "patients.csv.gz", gzip.compress(PATIENTS.encode()))
    put(root / place / "admissions.csv", ADMISSIONS)
    records = read_records("mimic_cxr", root)
    assert records.attributes == ("race",)
    frame = records.frame
    assert frame["sex"].tolist() == ["F"] * 3 + ["M"] * 2
    assert frame["age"].tolist() == [55] * 3 + [91] * 2
    # One patient's admissions agree where they say anything; the other's do not.
    assert frame["race"].isna().tolist() == [False] * 3 + [True] * 2
    assert set(frame["race"].dropna()) == {"Black"}
    assert [table.name for table in records.tables][-2:] == ["patients.csv.gz", "admissions.csv"]


def test_each_table_of_mimic_iv_is_optional_and_others_of_its_name_are_passed_over(tmp_path):
    """Without dates the age is the anchor age; older releases say ethnicity; a patient may be in neither table."""
    root = tmp_path / "mimic"
    make(root)
    put(tmp_path / "patients.csv", "name,ward\nx,y\n")
    without = read_records("mimic_cxr", root)
    assert without.frame["sex"].isna().all() and without.attributes == ()
    assert len(without.tables) == 3
    put(root / "patients.csv", "subject_id,gender,anchor_age\n10000032,F,52\n")
    alone = read_records("mimic_cxr", root)
    assert alone.frame["age"].isna().tolist() == [False] * 3 + [True] * 2
    assert (alone.frame["age"][0], alone.attributes) == (52, ())
    assert alone.frame["sex"].isna().tolist() == [False] * 3 + [True] * 2
    (root / "patients.csv").unlink()
    put(root / "admissions.csv", "subject_id,ethnicity\n10000032,ASIAN - CHINESE\n11000764,AMERICAN INDIAN\n")
    races = read_records("mimic_cxr", root).frame["race"].tolist()
    assert races == ["Asian"] * 3 + ["Other"] * 2


def test_tables_of_patients_change_no_content_hash(tmp_path):
    hashes = []
    for name in ("without", "with"):
        root = tmp_path / name / "mimic"
        make(root)
        for path in root.rglob("*.jpg"):
            path.write_bytes(encode(Image.fromarray(picture(32, 32)), "JPEG"))
        if name == "with":
            put(root / "patients.csv", PATIENTS)
            put(root / "admissions.csv", ADMISSIONS)
        records = read_records("mimic_cxr", root)
        splits = assign_splits(records, SplitConfig())
        ranks = subset_ranks(records.frame["name"], splits, 0)
        out = tmp_path / name / "mimic_cxr.beton"
        convert(records, splits, ranks, out, ConvertOptions(size=32, workers=1))
        beton = Beton.open(out)
        hashes.append(beton.sidecar.content_hash)
        assert ("race" in beton.samples) == (name == "with")
    assert hashes[0] == hashes[1]
    assert (beton.samples["age"].dtype, set(beton.samples["sex"])) == ("Int16", {"F", "M"})
