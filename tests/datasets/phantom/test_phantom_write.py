"""Phantoms are whole or absent, the same for any number of workers, and never mixed with foreign files."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_dataset import session_members, wait_until

from datasets.errors import InputError
from datasets.phantom.write import NOTICE, write_phantom
from launch.cli import main

ALL = ["chexpert", "chestxray14", "mimic_cxr"]


def tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_bytes_do_not_depend_on_workers(tmp_path: Path) -> None:
    for workers in (1, 2):
        write_phantom(tmp_path / str(workers), ALL, patients=20, seed=3, size=32, workers=workers)
    one, two = tree(tmp_path / "1"), tree(tmp_path / "2")
    assert one == two
    assert len(one) > 60


def test_seed_changes_pictures_and_labels(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_phantom(tmp_path / str(seed), ["chestxray14"], patients=5, seed=seed, size=32, workers=1)
    one, two = tree(tmp_path / "1"), tree(tmp_path / "2")
    pictures = [name for name in set(one) & set(two) if name.endswith(".png")]
    assert len(pictures) >= 5
    assert all(one[name] != two[name] for name in pictures)
    table = "ChestX-ray14/Data_Entry_2017_v2020.csv"
    assert one[table] != two[table]


def test_a_patient_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    for patients in (5, 8):
        write_phantom(tmp_path / str(patients), ["chexpert"], patients=patients, seed=1, size=32, workers=1)
    few, many = tree(tmp_path / "5"), tree(tmp_path / "8")
    first_four = [name for name in few if "/train/patient0000" in name]
    assert len(first_four) >= 4
    assert all(few[name] == many[name] for name in first_four)


def test_it_says_that_images_are_made_up(tmp_path: Path) -> None:
    write_phantom(tmp_path / "p", ["chexpert"], patients=5, seed=0, size=32, workers=1)
    assert (tmp_path / "p" / "README.txt").read_text().startswith(NOTICE)
    assert NOTICE in (tmp_path / "p" / "CheXpert-v1.0-small" / "PHANTOM.json").read_text()
    assert "never stand in" in NOTICE.lower()


def test_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("real data")
    with pytest.raises(InputError, match="was not written by cxr phantom"):
        write_phantom(tmp_path, ["chexpert"], patients=5, seed=0, size=32, workers=1)
    assert list(tree(tmp_path)) == ["train.csv"]
    (tmp_path / "README.txt").write_text("CheXpert: read me\n")
    with pytest.raises(InputError, match="was not written by cxr phantom"):
        write_phantom(tmp_path, ["chexpert"], patients=5, seed=0, size=32, workers=1)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot be made a folder"):
            write_phantom(path, ["chexpert"], patients=5, seed=0, size=32, workers=1)


def test_same_call_again_does_nothing(tmp_path: Path) -> None:
    first = write_phantom(tmp_path / "p", ["chexpert"], patients=5, seed=0, size=32, workers=1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "p").rglob("*")}
    second = write_phantom(tmp_path / "p", ["chexpert"], patients=5, seed=0, size=32, workers=1)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "p").rglob("*")}
    assert ([each.fresh for each in first], [each.fresh for each in second]) == ([True], [False])
    assert first[0].images == second[0].images == sum(1 for _ in (tmp_path / "p").rglob("*.jpg"))


def test_other_arguments_never_overwrite_but_another_dataset_is_added(tmp_path: Path) -> None:
    write_phantom(tmp_path / "p", ["chexpert"], patients=5, seed=0, size=32, workers=1)
    before = tree(tmp_path / "p")
    with pytest.raises(InputError, match="is there already with seed = 0"):
        write_phantom(tmp_path / "p", ALL, patients=5, seed=1, size=32, workers=1)
    assert tree(tmp_path / "p") == before
    write_phantom(tmp_path / "p", ["mimic_cxr"], patients=6, seed=1, size=32, workers=1)
    assert before.items() <= tree(tmp_path / "p").items()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patients": 4}, "patients = 4"),
        ({"size": 8}, "size = 8"),
        ({"seed": -1}, "seed = -1"),
        ({"workers": 0}, "workers = 0"),
        ({"datasets": ["nowhere"]}, "known: chexpert, chestxray14, mimic_cxr"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"datasets": ["chexpert"], "patients": 5, "seed": 0, "size": 32, "workers": 1}
    with pytest.raises(InputError, match=message):
        write_phantom(tmp_path / "p", **(arguments | change))  # type: ignore[arg-type]
    assert not (tmp_path / "p").exists()


def test_two_writers_do_not_share_a_folder(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(InputError, match="another cxr phantom is writing"):
            write_phantom(tmp_path, ["chexpert"], patients=5, seed=0, size=32, workers=1)
    finally:
        os.close(handle)


def test_a_killed_writer_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    root = tmp_path / "p"
    command = [sys.executable, "-m", "launch.cli", "phantom", str(root), "--patients", "9000", "--workers", "2"]
    writer = subprocess.Popen([*command, "--datasets", "chexpert"], stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not any(root.glob(".CheXpert*/train/patient*")):
        assert writer.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    wait_until(lambda: not session_members(writer.pid), 30)
    assert not (root / "CheXpert-v1.0-small").exists()
    write_phantom(root, ["chexpert"], patients=5, seed=0, size=32, workers=1)
    assert sorted(path.name for path in root.iterdir()) == ["CheXpert-v1.0-small", "README.txt"]
    assert (root / "CheXpert-v1.0-small" / "valid.csv").exists()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["phantom", str(tmp_path / "p"), "--patients", "5", "--size", "32", "--workers", "1"]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--datasets", "chexpert,chestxray14"])
    assert stopped.value.code == 0
    output = capsys.readouterr()
    assert [line.split(":")[0] for line in output.out.splitlines()] == [
        str(tmp_path / "p" / "CheXpert-v1.0-small"),
        str(tmp_path / "p" / "ChestX-ray14"),
    ]
    assert "made-up images" in output.out
    assert "patients/s" in output.err
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--datasets", "chexprt"])
    assert stopped.value.code == 2
    assert "known: chexpert, chestxray14, mimic_cxr" in capsys.readouterr().err
