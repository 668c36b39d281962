"""Counts of real metadata tables against published ones: of CheXpert, ChestX-ray14, RSNA, PadChest and VinBigData.

The tables come with the torchxrayvision package, which is found without importing it.
"""

import importlib.util
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from datasets.sources.labels import CHESTXRAY14_LABELS, CHEXPERT_LABELS, NO_FINDING
from datasets.sources.records import read_records
from datasets.sources.tables import read_table
from datasets.splits.split import SplitConfig, assign_splits, read_test_ids, subset_ranks

# In the order of CHEXPERT_LABELS.
CHEXPERT_POSITIVES = [22381, 10798, 27000, 105581, 9186, 52246, 14783, 6039, 33376, 19448, 86187, 3523, 9040, 116001]
CHEXPERT_UNCERTAIN = [0, 12403, 8087, 5598, 1488, 12984, 27742, 18770, 33739, 3145, 11628, 2653, 642, 1079]
# In the order of CHESTXRAY14_LABELS.
CHESTXRAY14_POSITIVES = [11559, 2776, 13317, 19894, 5782, 6331, 1431, 5302, 4667, 2303, 2516, 1686, 3385, 227]
# In the order of PADCHEST_LABELS.
PADCHEST_POSITIVES = [
    *(50390, 8961, 15021, 10017, 20756, 1508, 4071, 8174, 573, 2636, 1456, 1538, 1228, 5156, 2361, 4625, 14123),
    *(23279, 308, 2698, 3908, 6147, 990, 2466, 6782, 6792, 12165, 2546, 8333),
]
# By two of three readers, of the labels that Kaggle's table of VinDr-CXR has.
VINDR_MAJORITY = {
    "Aortic enlargement": 2346,
    "Atelectasis": 62,
    "Calcification": 177,
    "Cardiomegaly": 1817,
    "Consolidation": 121,
    "ILD": 152,
    "Infiltration": 245,
    "Lung Opacity": 547,
    "Nodule/Mass": 405,
    "Pleural Effusion": 634,
    "Pleural_Thickening": 882,
    "Pneumothorax": 58,
    "Fibrosis": 1017,
    "Other lesion": 362,
    "No Finding": 10606,
}
NIH_SAMPLE = Path(os.environ.get("CXR_NIH_SAMPLE", Path(__file__).parents[4] / "shared" / "nih_sample"))


def tables():
    spec = importlib.util.find_spec("torchxrayvision")
    if spec is None or spec.origin is None:
        pytest.skip("torchxrayvision, which holds the real metadata tables, is not installed")
    return Path(spec.origin).parent / "data"


def metadata(tmp_path_factory, source, target):
    root = tmp_path_factory.mktemp(target.partition(".")[0])
    (root / target).symlink_to(tables() / source)
    return root


@pytest.fixture(scope="module")
def chexpert_root(tmp_path_factory):
    return metadata(tmp_path_factory, "chexpert_train.csv.gz", "train.csv.gz")


@pytest.fixture(scope="module")
def nih_root(tmp_path_factory):
    name = "Data_Entry_2017_v2020.csv.gz"
    return metadata(tmp_path_factory, name, name)


@pytest.fixture(scope="module")
def chexpert(chexpert_root):
    return read_records("chexpert", chexpert_root, uncertain="ignore", check_files=False)


@pytest.fixture(scope="module")
def nih(nih_root):
    return read_records("chestxray14", nih_root, check_files=False)


def images_and_patients(records, splits):
    return [
        (int((splits == name).sum()), records.frame["patient"][splits == name].nunique())
        for name in ("train", "validation", "test")
    ]


def test_chexpert_rows_patients_studies(chexpert):
    frame = chexpert.frame
    assert len(frame) == chexpert.tables[0].num_rows == 223_414
    assert frame["patient"].nunique() == 64_540
    assert len(frame[["patient", "study"]].drop_duplicates()) == 187_641
    assert (frame["patient"].min(), frame["patient"].max()) == ("00001", "64540")
    assert chexpert.rejects.empty and chexpert.dropped == {}


def test_chexpert_positives_under_u_zero(chexpert):
    positives = (chexpert.targets == 1).sum(axis=0)
    assert positives.tolist() == CHEXPERT_POSITIVES
    assert positives.sum() == 515_589
    assert round(float(positives.sum()) / 223_414, 3) == 2.308
    assert int(((chexpert.targets == 1).sum(axis=1) == 0).sum()) == 11_141


def test_chexpert_uncertain_labels(chexpert):
    assert (chexpert.targets == 255).sum(axis=0).tolist() == CHEXPERT_UNCERTAIN


def test_chexpert_positives_under_u_one(chexpert, chexpert_root):
    one = read_records("chexpert", chexpert_root, uncertain="one", check_files=False).targets
    assert np.array_equal(one, chexpert.targets > 0)
    positives = dict(zip(CHEXPERT_LABELS, one.sum(axis=0).tolist(), strict=True))
    assert (positives["Atelectasis"], positives["Pneumonia"]) == (67_115, 24_809)


def test_chexpert_views_sexes_ages(chexpert, chexpert_root):
    frame = chexpert.frame
    assert frame["view"].value_counts().to_dict() == {"frontal": 191_027, "lateral": 32_387}
    lateral_only = frame.groupby("patient")["view"].agg(lambda views: set(views) == {"lateral"})
    assert int(lateral_only.sum()) == 6
    assert frame["patient"][frame["sex"].isna()].tolist() == ["33093"]
    assert int((frame["age"] == 0).sum()) == 3
    assert (int(frame["age"].max()), int((frame["age"] == 90).sum())) == (90, 7_579)
    frontal = read_records("chexpert", chexpert_root, views="frontal", check_files=False)
    assert len(frontal.frame) == 191_027 and frontal.dropped == {"view is lateral": 32_387}
    split = dict(zip(frame["patient"], assign_splits(chexpert, SplitConfig(seed=0)), strict=True))
    assert (assign_splits(frontal, SplitConfig(seed=0)) == frontal.frame["patient"].map(split)).all()


def test_chexpert_no_finding_stands_with_support_devices_alone(chexpert):
    none = chexpert.targets[:, CHEXPERT_LABELS.index(NO_FINDING)] == 1
    beside = {label for at, label in enumerate(CHEXPERT_LABELS) if (chexpert.targets[none][:, at] == 1).any()}
    assert beside == {NO_FINDING, "Support Devices"}
    assert int((chexpert.targets[none][:, CHEXPERT_LABELS.index("Support Devices")] == 1).sum()) == 8_808


def test_chexpert_split_of_seed_0(chexpert):
    splits = assign_splits(chexpert, SplitConfig(seed=0))
    assert images_and_patients(chexpert, splits) == [(178_834, 51_632), (22_101, 6_454), (22_479, 6_454)]


def test_chexpert_subsets_nest_and_hold_every_label(chexpert):
    splits = assign_splits(chexpert, SplitConfig(seed=0))
    ranks = subset_ranks(chexpert.frame["name"], splits, 0)
    assert ranks.max() == 178_833
    inside = [(ranks >= 0) & (ranks < size) for size in (1_000, 5_000, 50_000)]
    assert [int(mask.sum()) for mask in inside] == [1_000, 5_000, 50_000]
    assert not (inside[0] & ~inside[1]).any() and not (inside[1] & ~inside[2]).any()
    assert ((chexpert.targets[inside[0]] == 1).sum(axis=0) > 0).all()


def test_chexpert_patients_of_chexclusions_test_list(chexpert):
    given = os.environ.get("CXR_CHEXCLUSION_TEST_IDS")
    if given is None:
        pytest.skip("CXR_CHEXCLUSION_TEST_IDS does not name CheXclusion's CXP/testSet_SubjID.csv")
    test = read_test_ids(Path(given), chexpert.patients)
    assert int(chexpert.frame["patient"].isin(test).sum()) == 22_247


def test_nih_rows_patients_vocabulary(nih, nih_root):
    assert len(nih.frame) == 112_120
    assert nih.frame["patient"].nunique() == 30_805
    table = read_table(nih_root / "Data_Entry_2017_v2020.csv.gz", ["Finding Labels"])
    tokens = {token for text in table.frame["Finding Labels"].unique() for token in text.split("|")}
    assert tokens == {*CHESTXRAY14_LABELS, NO_FINDING}
    assert nih.rejects.empty and nih.dropped == {}


def test_nih_positives(nih):
    assert nih.targets.sum(axis=0).tolist() == CHESTXRAY14_POSITIVES
    assert int((nih.targets.sum(axis=1) == 0).sum()) == 60_361
    assert set(np.unique(nih.targets)) == {0, 1}


def test_nih_views_sexes_ages(nih, nih_root):
    assert nih.frame["view"].unique().tolist() == ["frontal"]
    positions = read_table(nih_root / "Data_Entry_2017_v2020.csv.gz", ["View Position"]).frame["View Position"]
    assert positions.value_counts().to_dict() == {"PA": 67_310, "AP": 44_810}
    assert nih.frame["sex"].value_counts().to_dict() == {"M": 63_340, "F": 48_780}
    assert (int(nih.frame["age"].min()), int(nih.frame["age"].max())) == (0, 95)
    assert int((nih.frame["age"] == 0).sum()) == 14


def test_nih_split_of_seed_0(nih):
    splits = assign_splits(nih, SplitConfig(seed=0))
    assert images_and_patients(nih, splits) == [(90_265, 24_644), (11_031, 3_080), (10_824, 3_081)]


def test_real_images_of_nih_are_found():
    if not NIH_SAMPLE.is_dir():
        pytest.skip(f"no real ChestX-ray14 images at {NIH_SAMPLE}; set CXR_NIH_SAMPLE to a folder of them")
    records = read_records("chestxray14", NIH_SAMPLE)
    assert len(records.frame) == records.tables[0].num_rows - len(records.rejects) > 0
    assert all((NIH_SAMPLE / path).is_file() for path in records.frame["path"])


@pytest.fixture(scope="module")
def rsna(tmp_path_factory):
    """The tables of the wheel, which lacks the classes and the mapping: one is made up, four images a patient."""
    name = "kaggle_stage_2_train_images_dicom_headers.csv.gz"
    root = metadata(tmp_path_factory, name, name)
    with zipfile.ZipFile(tables() / "kaggle_stage_2_train_labels.csv.zip") as archive:
        archive.extract("stage_2_train_labels.csv", root)
    images = read_table(root / "stage_2_train_labels.csv", ["patientId"]).frame["patientId"].unique()
    entries = [
        {"subset_img_id": image, "img_id": f"{1 + number // 4:08d}_{number % 4:03d}.png"}
        for number, image in enumerate(images)
    ]
    (root / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(entries))
    return read_records("rsna_pneumonia", root, check_files=False)


def test_rsna_images_boxes_and_pneumonias(rsna):
    assert [table.num_rows for table in rsna.tables] == [30_227, 26_684, 26_684]
    assert len(rsna.frame) == 26_684 and rsna.rejects.empty
    assert [(rsna.targets[:, 0] == value).sum() for value in (1, 0)] == [6_012, 20_672]
    assert (rsna.targets[:, 1:] == 255).sum(axis=0).tolist() == [20_672, 20_672]


def test_rsna_views_sexes_ages(rsna):
    assert rsna.frame["view"].unique().tolist() == ["frontal"]
    assert rsna.frame["sex"].value_counts().to_dict() == {"M": 15_166, "F": 11_518}
    assert (int(rsna.frame["age"].min()), int(rsna.frame["age"].max())) == (1, 92)
    assert int(rsna.frame["age"].isna().sum()) == 5


@pytest.fixture(scope="module")
def padchest(tmp_path_factory):
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
    return read_records("padchest", metadata(tmp_path_factory, name, name), check_files=False)


def test_padchest_rows_patients_views(padchest):
    """The paper counts 67,625 patients and 109,931 studies, here with those whose images are left out."""
    assert padchest.tables[0].num_rows == 160_861 == len(padchest.frame) + 103 + 11
    assert padchest.dropped == {"row without labels": 103, "Projection is EXCLUDE": 11}
    assert padchest.frame["patient"].nunique() == len(padchest.patients) == 67_594
    assert padchest.frame["study"].nunique() == 109_852
    assert padchest.frame["view"].value_counts().to_dict() == {"frontal": 110_554, "lateral": 49_555, "unknown": 638}
    assert padchest.rejects.empty


def test_padchest_positives_and_missing(padchest):
    assert (padchest.targets == 1).sum(axis=0).tolist() == PADCHEST_POSITIVES
    known = (padchest.targets != 255).all(axis=1)
    assert int((~known).sum()) == 16_422
    assert int((padchest.targets == 255).all(axis=1).sum()) == 6_742


def test_padchest_sexes_ages(padchest):
    assert padchest.frame["sex"].value_counts(dropna=False).tolist() == [80_857, 79_868, 22]
    assert (int(padchest.frame["age"].min()), int(padchest.frame["age"].max())) == (0, 105)
    assert int(padchest.frame["age"].isna().sum()) == 6


def test_padchest_split_of_seed_0(padchest):
    splits = assign_splits(padchest, SplitConfig(seed=0))
    assert images_and_patients(padchest, splits) == [(128_944, 54_075), (15_853, 6_759), (15_950, 6_760)]


def test_vinbigdata_majority_of_three_readers(tmp_path_factory):
    root = metadata(tmp_path_factory, "vinbigdata-train.csv.gz", "train.csv.gz")
    records = read_records("vindr_cxr", root, check_files=False)
    assert (len(records.frame), records.tables[0].num_rows, len(records.rejects)) == (15_000, 67_914, 0)
    positives = dict(zip(records.labels, (records.targets == 1).sum(axis=0).tolist(), strict=True))
    assert {label: count for label, count in positives.items() if count} == VINDR_MAJORITY
    assert (records.targets == 255).sum() == 13 * 15_000
