"""A guard strikes its training once, from outside, and hands on signals and how it ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import drill_stand_in
import pytest

from harness.runs.folder import RunFolder
from launch.drill.guard import read_notes

STAND_IN = [sys.executable, "-I", "-S", str(Path(drill_stand_in.__file__).resolve())]


def start(strike: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "launch.drill.guard", strike, str(folder), *STAND_IN, str(folder)]
    values = {**os.environ, **environment}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=values, start_new_session=True)


def notes_of(folder: Path) -> dict[str, Any]:
    return read_notes(RunFolder(folder))


def epochs_done(folder: Path) -> int:
    return int(json.loads((folder / "status.json").read_text())["epoch"])


def ends_well(folder: Path, strike: str) -> None:
    """A second start of the struck run is struck no more."""
    struck = notes_of(folder)["struck"]
    assert struck
    assert start(strike, folder).wait(20) == 0
    notes = notes_of(folder)
    assert (notes["struck"], epochs_done(folder)) == (struck, 5)
    assert notes["began"] < struck < notes["ended"]


def test_it_kills_the_training_and_ends_as_it_did(tmp_path: Path) -> None:
    assert start("kill", tmp_path).wait(20) == -signal.SIGKILL
    assert (notes_of(tmp_path)["how"], epochs_done(tmp_path)) == ("SIGKILL", 1)
    ends_well(tmp_path, "kill")


def test_it_holds_the_training_until_it_is_asked_to_end(tmp_path: Path) -> None:
    process = start("hold", tmp_path)
    deadline = time.monotonic() + 20
    while not (notes_of(tmp_path).get("struck")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    held = (tmp_path / "status.json").read_text()
    time.sleep(0.3)
    assert (tmp_path / "status.json").read_text() == held
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "interrupted"
    assert 0.3 <= notes_of(tmp_path)["held_s"] < 10.0
    ends_well(tmp_path, "hold")


def programs(folder: Path, unshare: str) -> str:
    """A PATH on which ``unshare`` is this shell line."""
    folder.mkdir()
    (folder / "unshare").write_text(f"#!/bin/sh\n{unshare}\n")
    (folder / "unshare").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def may_mount() -> bool:
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/tmp"]
    return shutil.which("unshare") is not None and subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize("mounts", [True, False])
def test_it_leaves_no_room_for_a_checkpoint(mounts: bool, tmp_path: Path) -> None:
    if mounts and not may_mount():
        pytest.skip("users may not mount here")
    folder = tmp_path / "run"
    path = os.environ["PATH"] if mounts else programs(tmp_path / "bin", "exit 1")
    process = start("disk", folder, PATH=path)
    said = process.communicate(timeout=20)[0]
    words = "the disk is full" if mounts else "the largest file size allowed here is reached"
    assert (process.returncode, words in said) == (2, True)
    how = notes_of(folder)["how"]
    assert how.startswith("a tmpfs of 64 KiB" if mounts else "a file-size limit of 64 KiB (EFBIG)")
    assert json.loads((folder / "checkpoint" / "last" / "state.json").read_text()) == {"step": 2}  # the one before
    ends_well(folder, "disk")


def test_other_processes_of_a_run_are_left_alone(tmp_path: Path) -> None:
    assert start("kill", tmp_path, RANK="1").wait(20) == 0
    assert notes_of(tmp_path) == {}
