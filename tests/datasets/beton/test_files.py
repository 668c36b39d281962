"""Whole files or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datasets.errors import InputError
from datasets.files import read_json, read_json_object, regular, replacing, sha256_file, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_round_trip_and_nan_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"b": [1, 2.5, None]})
    assert read_json(path) == {"b": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"b": float("nan")})
    assert read_json(path) == {"b": [1, 2.5, None]}


def test_bad_json_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.json: not a JSON file"):
        read_json(tmp_path / "bad.json")


def test_sha256_of_known_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link, dangling = tmp_path / "there" / "target.txt", tmp_path / "link.txt", tmp_path / "dangling.txt"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    dangling.symlink_to("there/new.txt")
    write_text(link, "new")
    write_text(dangling, "made")
    assert link.is_symlink()
    assert (target.read_text(), (tmp_path / "there" / "new.txt").read_text()) == ("new", "made")
    assert sorted(path.name for path in target.parent.iterdir()) == ["new.txt", "target.txt"]


@pytest.mark.parametrize("kind", ["device", "link to a device", "fifo", "folder"])
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/full") if kind == "device" else tmp_path / "out"
    if kind == "link to a device":
        path.symlink_to("/dev/full")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    before = path.lstat()
    with pytest.raises(InputError, match="not a regular file, so it cannot be replaced"):
        write_text(path, "x")
    assert path.lstat() == before
    assert kind == "device" or list(tmp_path.iterdir()) == [path]


@pytest.mark.timeout(20)
def test_a_fifo_or_device_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.json")
    for path in (tmp_path / "fifo.json", Path("/dev/zero")):
        for read in (regular, read_json, read_json_object):
            with pytest.raises(InputError, match=f"^{path}: not a regular file, so it cannot be read$"):
                read(path)
    assert read_json_object(tmp_path / "absent.json") == {}
