"""Splits and subsets: what holds for any set of patients, and exact values on small ones."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from datasets.sources.labels import CHEXPERT_LABELS
from datasets.sources.records import Records
from datasets.splits.split import SplitConfig, assign_splits, read_test_ids, split_patients, subset_ranks

LAWS = settings(deadline=None, max_examples=60)
PATIENTS = st.sets(st.integers(0, 99_999), max_size=120).map(lambda ids: [f"{number:05d}" for number in ids])
SEEDS = st.integers(0, 2**63 - 1)


def records_of(patients, official=None, table_patients=()):
    names = [f"{patient}/{at}.jpg" for at, patient in enumerate(patients)]
    frame = pd.DataFrame({"path": names, "name": names, "patient": list(patients)}).astype("str")
    frame["official_split"] = list(official) if official is not None else ""
    return Records(
        dataset="chexpert",
        root=Path("root"),
        labels=CHEXPERT_LABELS,
        frame=frame,
        targets=np.zeros((len(frame), 14), dtype=np.uint8),
        tables=(),
        rejects=pd.DataFrame({"path": [], "reason": [], "table": [], "row": []}),
        dropped={},
        table_patients=table_patients,
    )


@LAWS
@given(PATIENTS, SEEDS)
def test_every_patient_is_in_one_split_of_the_right_size(patients, seed):
    split = split_patients(patients, seed)
    n = len(patients)
    assert sorted(split) == sorted(patients)
    sizes = [list(split.values()).count(name) for name in ("train", "validation", "test")]
    assert sizes == [int(0.8 * n), int(0.9 * n) - int(0.8 * n), n - int(0.9 * n)]


@LAWS
@given(PATIENTS, SEEDS, st.randoms(use_true_random=False))
def test_split_depends_on_the_set_of_patients_alone(patients, seed, random):
    shuffled = [*patients, *patients[: len(patients) // 2]]
    random.shuffle(shuffled)
    assert split_patients(shuffled, seed) == split_patients(patients, seed)


@LAWS
@given(PATIENTS, SEEDS, st.data())
def test_fixed_test_patients(patients, seed, data):
    test = frozenset(data.draw(st.sets(st.sampled_from(patients), min_size=1)) if patients else {"00000"})
    split = split_patients(patients, seed, test)
    n = len(set(patients) - test)
    assert {patient for patient, name in split.items() if name == "test"} == test & set(patients)
    assert list(split.values()).count("train") == 8 * n // 9
    assert list(split.values()).count("validation") == n - 8 * n // 9


def test_the_split_is_a_permutation_by_default_rng_cut_at_80_and_90_percent():
    patients = [f"{number:05d}" for number in range(20)]
    order = [patients[at] for at in np.random.default_rng(7).permutation(20)]
    split = split_patients(reversed(patients), 7)
    assert [split[patient] for patient in order] == ["train"] * 16 + ["validation"] * 2 + ["test"] * 2


@LAWS
@given(PATIENTS, SEEDS)
def test_no_patient_in_two_splits_image_by_image(patients, seed):
    images = [patient for patient in patients for _ in range(1 + int(patient) % 3)]
    splits = assign_splits(records_of(images), SplitConfig(seed=seed))
    assert len(splits) == len(images)
    found = {(patient, str(split)) for patient, split in zip(images, splits, strict=True)}
    assert len(found) == len(set(images))


def test_a_lost_image_moves_no_other_patient():
    patients = [f"{number:05d}" for number in range(50)]
    whole = assign_splits(records_of(patients), SplitConfig(seed=1))
    partial = assign_splits(records_of(patients[1:], table_patients=tuple(patients)), SplitConfig(seed=1))
    assert partial.tolist() == whole[1:].tolist()


NAMES = st.lists(st.text("ab/0123456789", min_size=1, max_size=8), unique=True, max_size=80)


@LAWS
@given(NAMES, SEEDS, st.data())
def test_subset_ranks_are_a_permutation_of_train_and_nest(names, seed, data):
    splits = data.draw(st.lists(st.sampled_from(["train", "validation", "test"]), min_size=len(names),
                                max_size=len(names)))  # fmt: skip
    ranks = subset_ranks(names, splits, seed)
    train = np.array([split == "train" for split in splits], dtype=bool)
    assert sorted(ranks[train]) == list(range(train.sum()))
    assert (ranks[~train] == -1).all()
    sizes = sorted(data.draw(st.lists(st.integers(0, len(names)), min_size=2, max_size=4)))
    subsets = [{name for name, rank in zip(names, ranks, strict=True) if 0 <= rank < size} for size in sizes]
    assert all(small <= large for small, large in pairwise(subsets))


@LAWS
@given(NAMES, SEEDS, st.randoms(use_true_random=False))
def test_subset_ranks_do_not_depend_on_the_order_of_rows(names, seed, random):
    ranks = dict(zip(names, subset_ranks(names, ["train"] * len(names), seed).tolist(), strict=True))
    shuffled = random.sample(names, len(names))
    again = subset_ranks(shuffled, ["train"] * len(names), seed)
    assert dict(zip(shuffled, again.tolist(), strict=True)) == ranks


@LAWS
@given(NAMES.filter(bool), SEEDS)
def test_a_lost_image_keeps_the_order_of_the_others(names, seed):
    def in_order(kept):
        return [kept[at] for at in np.argsort(subset_ranks(kept, ["train"] * len(kept), seed))]

    assert in_order(names[1:]) == [name for name in in_order(names) if name != names[0]]


def test_1k_is_in_5k_is_in_50k():
    names = [f"train/patient{number:05d}/study1/view1_frontal.jpg" for number in range(60_000)]
    ranks = subset_ranks(names, ["train"] * len(names), 0)
    subsets = [frozenset(np.flatnonzero(ranks < size).tolist()) for size in (1_000, 5_000, 50_000)]
    assert [len(subset) for subset in subsets] == [1_000, 5_000, 50_000]
    assert subsets[0] < subsets[1] < subsets[2]
    assert not np.array_equal(ranks, subset_ranks(names, ["train"] * len(names), 1))
    assert abs(np.mean(np.flatnonzero(ranks < 5_000)) - 30_000) < 1_000


@pytest.mark.parametrize("line", ["{}", "{:05d}", "patient{:05d}", "p{:08d}", "PATIENT{}", "{:08d}_001.png"])
def test_spellings_of_test_ids(tmp_path, line):
    path = tmp_path / "ids.csv"
    path.write_text("".join(f" {line.format(number)}\r\n" for number in (3, 12, 12, 12)) + "\n")
    patients = [f"{number:05d}" for number in range(1, 21)]
    assert read_test_ids(path, patients) == {"00003", "00012"}
    splits = assign_splits(records_of(patients), SplitConfig(test_ids=path))
    assert [patients[at] for at in np.flatnonzero(splits == "test")] == ["00003", "00012"]
    assert (splits == "train").sum() == 16 and (splits == "validation").sum() == 2


def test_test_ids_that_are_no_numbers(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("id_12\n7\n")
    assert read_test_ids(path, ["id_12", "12", "007", "7"]) == {"id_12", "7"}


def test_test_ids_of_another_release_are_passed_over_with_a_warning(tmp_path, caplog):
    path = tmp_path / "ids.txt"
    path.write_text("1\n99")
    assert read_test_ids(path, ["00001", "00002"]) == {"00001"}
    assert "1 of 2 patients are not in the dataset" in caplog.text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("subject_id\n1\n", "entry 1: 'subject_id' is not a patient id"),
        ("1\n2.5\n", "entry 2: '2.5' is not a patient id"),
        ("77\n78\n", "none of its 2 patient ids is in the dataset"),
        ("", "none of its 0 patient ids"),
    ],
)
def test_test_ids_that_are_refused(tmp_path, text, problem):
    path = tmp_path / "ids.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=problem):
        read_test_ids(path, ["00001"])


def test_config_refuses_what_has_no_meaning(tmp_path):
    with pytest.raises(InputError, match="must lie in 0"):
        SplitConfig(seed=-1)
    with pytest.raises(InputError, match="known: random, official"):
        SplitConfig(kind="folds")
    with pytest.raises(InputError, match="fixes its own test patients"):
        SplitConfig(kind="official", test_ids=tmp_path)


OFFICIAL = SplitConfig(kind="official", seed=3)


def test_official_split_of_three_parts_is_taken_as_it_is():
    official = ["train", "test", "validation", "train"]
    assert assign_splits(records_of(["1", "2", "3", "1"], official), OFFICIAL).tolist() == official


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_official_split_of_two_parts_gives_validation_out_of_train(held_out):
    patients = [f"{number:08d}" for number in range(100)]
    official = [held_out if number % 10 == 0 else "train" for number in range(100)]
    splits = assign_splits(records_of(patients, official), OFFICIAL)
    assert [number for number in range(100) if splits[number] == "test"] == list(range(0, 100, 10))
    assert (splits == "train").sum() == 80 and (splits == "validation").sum() == 10
    other = assign_splits(records_of(patients, official), SplitConfig(kind="official", seed=4))
    assert (other != splits).any() and ((other == "test") == (splits == "test")).all()


@pytest.mark.parametrize(
    ("official", "problem"),
    [
        (["train", ""], "1 of 2 images have no official split"),
        (["train", "train"], "has only train"),
        (["test", "validation"], "has only test, validation"),
    ],
)
def test_official_split_that_is_not_there(official, problem):
    with pytest.raises(InputError, match=problem):
        assign_splits(records_of(["1", "2"], official), OFFICIAL)


def test_official_split_with_a_leak():
    with pytest.raises(InputError, match="patient 7 is in more than one part"):
        assign_splits(records_of(["7", "7"], ["train", "test"]), OFFICIAL)
