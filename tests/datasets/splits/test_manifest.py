"""Split manifests: written, read back, applied, refused; and the command that writes them."""

import json

import numpy as np
import pandas as pd
import pytest

from datasets.errors import InputError
from datasets.sources.labels import CHEXPERT_LABELS
from datasets.sources.records import read_records
from datasets.splits.manifest import apply_manifest, read_manifest, write_manifest
from datasets.splits.split import SplitConfig, assign_splits, subset_ranks
from launch.cli import main

NUM_PATIENTS = 30
CONFIG = SplitConfig(seed=5)


def make(root, missing=()):
    """ChestX-ray14: patient p has 1 + p % 2 images; every other image shows a Mass."""
    names = [f"{p:08d}_{i:03d}.png" for p in range(1, NUM_PATIENTS + 1) for i in range(1 + p % 2)]
    lines = [f"{name},{'Mass' if at % 2 else 'No Finding'},{int(name[:8])}" for at, name in enumerate(names)]
    (root / "images").mkdir(parents=True)
    (root / "Data_Entry_2017.csv").write_text("\n".join(["Image Index,Finding Labels,Patient ID", *lines]))
    for name in set(names) - set(missing):
        (root / "images" / name).write_bytes(b"x")
    return names


def written(root, path):
    records = read_records("chestxray14", root)
    splits = assign_splits(records, CONFIG)
    ranks = subset_ranks(records.frame["name"], splits, CONFIG.seed)
    write_manifest(path, records, splits, ranks, CONFIG)
    return records, splits, ranks


def test_write_read_apply(tmp_path):
    names = make(tmp_path / "nih")
    path = tmp_path / "m.csv"
    records, splits, ranks = written(tmp_path / "nih", path)
    frame = read_manifest(path)
    assert frame.columns.tolist() == ["path", "patient", "split", "subset_rank"]
    assert frame["path"].tolist() == sorted(names)
    assert frame["patient"].iloc[0] == "00000001"
    again_splits, again_ranks = apply_manifest(records, frame)
    assert again_splits.tolist() == splits.tolist() and again_ranks.tolist() == ranks.tolist()
    header = frame.attrs["header"]
    assert header["dataset"] == "chestxray14"
    assert header["split"] == {"kind": "random", "seed": 5, "test_ids": None}
    assert header["patients"] == {"train": 24, "validation": 3, "test": 3}
    assert header["tables"][0]["sha256"] == records.tables[0].sha256


def test_bytes_are_the_same_for_another_copy_of_the_dataset(tmp_path):
    make(tmp_path / "a")
    make(tmp_path / "parent" / "b")
    (tmp_path / "parent" / "b" / "images").rename(tmp_path / "parent" / "b" / "images_001")
    written(tmp_path / "a", tmp_path / "a.csv")
    records, *_ = written(tmp_path / "parent", tmp_path / "b.csv")
    assert records.frame["path"].iloc[0] == "b/images_001/00000001_000.png"
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_comment_line_may_be_absent(tmp_path):
    make(tmp_path / "nih")
    records, splits, _ = written(tmp_path / "nih", tmp_path / "m.csv")
    bare = tmp_path / "bare.csv"
    bare.write_text((tmp_path / "m.csv").read_text().partition("\n")[2])
    assert apply_manifest(records, read_manifest(bare))[0].tolist() == splits.tolist()


def edited(tmp_path, change):
    make(tmp_path / "nih")
    records, *_ = written(tmp_path / "nih", tmp_path / "m.csv")
    frame = read_manifest(tmp_path / "m.csv")
    change(frame)
    header = json.dumps(frame.attrs["header"])
    (tmp_path / "m.csv").write_text(f"# {header}\n{frame.to_csv(index=False)}")
    return records, tmp_path / "m.csv"


def put(column, where, value):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[where(frame), column] = value

    return change


def first(split):
    return lambda frame: frame.index[frame["split"] == split][0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (put("split", first("train"), "dev"), "unknown split 'dev'; known: train, validation, test"),
        (put("patient", first("test"), "00000001"), "is in more than one split"),
        (put("subset_rank", first("train"), 0.5), r"row \d+: subset_rank '0.5'; expected a whole number"),
        (put("subset_rank", first("train"), 999), "subset_rank must be 0 to n-1"),
        (put("subset_rank", first("test"), 0), "subset_rank must be 0 to n-1"),
        (put("path", lambda frame: [0, 1], "x.png"), "x.png is listed twice"),
        (lambda frame: frame.pop("patient"), "no column 'patient'"),
        (lambda frame: frame.attrs["header"].update(version=99), "manifest version 99; this program reads version 1"),
        (lambda frame: frame.attrs["header"].update(format="other"), "not a split manifest's"),
    ],
)
def test_manifests_that_are_refused(tmp_path, change, problem):
    _, path = edited(tmp_path, change)
    with pytest.raises(InputError, match=problem) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (put("path", lambda frame: 0, "x.png"), "1 images are not in the manifest, such as 00000001_000.png"),
        (
            put("patient", lambda frame: [0, 1], "00000099"),
            "patient 00000099 in the manifest, 00000001 in the tables",
        ),
        (lambda frame: frame.attrs["header"].update(dataset="chexpert"), "is of chexpert, the images are of chestx"),
    ],
)
def test_manifests_of_other_images(tmp_path, change, problem):
    records, path = edited(tmp_path, change)
    with pytest.raises(InputError, match=problem):
        apply_manifest(records, read_manifest(path))


def test_manifest_image_that_is_missing_here(tmp_path):
    names = make(tmp_path / "nih")
    written(tmp_path / "nih", tmp_path / "m.csv")
    (tmp_path / "nih" / "images" / names[4]).unlink()
    with pytest.raises(InputError, match=f"1 images of the manifest .* such as {names[4]}; 1 rows were refused"):
        apply_manifest(read_records("chestxray14", tmp_path / "nih"), read_manifest(tmp_path / "m.csv"))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"# nonsense\n", b"a,b\n1,2\n"])
def test_files_that_are_no_manifest(tmp_path, content):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.csv"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(InputError, match="no such file"):
        read_manifest(tmp_path / "absent.csv")


def test_a_leaking_split_is_not_written(tmp_path):
    make(tmp_path / "nih")
    records = read_records("chestxray14", tmp_path / "nih")
    splits = np.array(["train", "test"] * len(records.frame))[: len(records.frame)]
    with pytest.raises(InputError, match="more than one split"):
        write_manifest(tmp_path / "m.csv", records, splits, subset_ranks(records.frame["name"], splits, 0), CONFIG)
    assert not (tmp_path / "m.csv").exists()


def cxr(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code, *capsys.readouterr()


def test_command_prints_json_alone(tmp_path, capsys):
    names = make(tmp_path / "nih", missing=["00000002_000.png"])
    out = tmp_path / "m.csv"
    arguments = ("chestxray14", "--root", tmp_path / "nih", "--out", out, "--max-rejects", 0.1, "--json")
    code, stdout, stderr = cxr(capsys, "split", *arguments)
    counts = json.loads(stdout)
    assert code == 0
    assert counts["tables"] == {"Data_Entry_2017.csv": len(names)}
    assert counts["num_images"] == len(names) - 1 == sum(part["images"] for part in counts["splits"].values())
    assert (counts["num_patients"], counts["num_table_patients"]) == (29, 30)
    assert counts["rejects"] == {"no such file": 1}
    assert "warning: 1 rows cannot be used" in stderr
    rejects = pd.read_csv(tmp_path / "m.csv.rejects.csv")
    assert rejects.to_dict("records") == [
        {"path": "images/00000002_000.png", "reason": "no such file", "table": "Data_Entry_2017.csv", "row": 4}
    ]
    assert len(read_manifest(out)) == len(names) - 1


def test_command_prints_a_table(tmp_path, capsys):
    make(tmp_path / "nih")
    (tmp_path / "m.csv.rejects.csv").write_text("left by an earlier run")
    arguments = ("chestxray14", "--root", tmp_path / "nih", "--out", tmp_path / "m.csv", "--seed", 2)
    code, stdout, stderr = cxr(capsys, "split", *arguments)
    assert code == 0
    assert [line.split() for line in stdout.splitlines()[1:3]] == [["images", "patients"], ["train", "37", "24"]]
    assert "no positive in train for Atelectasis, Cardiomegaly" in stderr
    assert not (tmp_path / "m.csv.rejects.csv").exists()


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--official"], "have no official split"),
        (["--test-ids", "absent.txt"], "absent.txt: no such file"),
        (["--official", "--test-ids", "x"], "fixes its own test patients"),
        (["--seed", "-1"], "must lie in 0"),
        (["--max-rejects", "1.5"], "max_rejects = 1.5 is a fraction and must lie in 0..1"),
    ],
)
def test_command_with_bad_input(tmp_path, capsys, more, problem):
    make(tmp_path / "nih")
    root = ("--root", tmp_path / "nih", "--out", tmp_path / "m.csv")
    code, stdout, stderr = cxr(capsys, "split", "chestxray14", *root, *more)
    assert (code, stdout) == (2, "") and problem in stderr
    assert not (tmp_path / "m.csv").exists()


def test_more_refused_rows_than_allowed_stop_the_split_and_are_listed(tmp_path, capsys):
    names = make(tmp_path / "nih", missing=["00000002_000.png", "00000003_000.png"])
    arguments = ("chestxray14", "--root", tmp_path / "nih", "--out", tmp_path / "m.csv")
    code, stdout, stderr = cxr(capsys, "split", *arguments)
    assert (code, stdout) == (2, "")
    assert f"1 of {len(names)} images cannot be used so far, more than --max-rejects 0.01 allows" in stderr
    assert not (tmp_path / "m.csv").exists()
    assert len(pd.read_csv(tmp_path / "m.csv.rejects.csv")) == 2


def test_tables_of_old_macs_and_open_quotes_are_read_or_named(tmp_path, capsys):
    make(tmp_path / "nih")
    arguments = ("chestxray14", "--root", tmp_path / "nih", "--out", tmp_path / "m.csv")
    table = tmp_path / "nih" / "Data_Entry_2017.csv"
    text = table.read_text()
    assert cxr(capsys, "split", *arguments)[0] == 0
    whole = (tmp_path / "m.csv").read_text().splitlines()[1:]
    table.write_bytes(text.replace("\n", "\r").encode())
    assert cxr(capsys, "split", *arguments)[0] == 0
    assert (tmp_path / "m.csv").read_text().splitlines()[1:] == whole
    header, _, rows = text.partition("\n")
    rows = rows * (1 + (200 << 10) // len(rows))
    for damaged in (f'{header}\n"{rows}', f'"{text}'):
        table.write_text(damaged)
        code, stdout, stderr = cxr(capsys, "split", *arguments)
        assert (code, stdout) == (2, "") and "not a readable CSV table" in stderr and "quote" in stderr
        assert len(stderr) < 1000


def test_a_table_whose_rows_are_all_refused_is_not_made_up_for_by_another(tmp_path, capsys):
    header = ",".join(["Path", *CHEXPERT_LABELS])
    cells = ",0" * len(CHEXPERT_LABELS)
    for part, prefix in (("train", "elsewhere/"), ("valid", "")):
        names = [f"{part}/patient{number:05d}/study1/view1_frontal.jpg" for number in range(1, 9)]
        rows = [f"{prefix}{name}{cells}" for name in names]
        (tmp_path / f"{part}.csv").write_text("\n".join([header, *rows]) + "\n")
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).touch()
    code, stdout, stderr = cxr(capsys, "split", "chexpert", "--root", tmp_path, "--out", tmp_path / "m.csv")
    assert (code, stdout) == (2, "")
    assert "elsewhere/train/patient00001/study1/view1_frontal.jpg: expected CheXpert-v1.0/train" in stderr
    assert not (tmp_path / "m.csv").exists()
