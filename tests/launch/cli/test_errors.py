"""Every command turns every error into one line, an exit status and, for what nobody foresaw, a file with details."""

from __future__ import annotations

import errno
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from launch.cli import main
from launch.cli.commands import COMMANDS

DETAILS = re.compile(r" \(details: (\S+); CXR_TRACEBACK=1 prints them\)\n")


def thrown_into(name: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> int:
    """Exit status of the command's first example when its work raises ``error``."""
    command_class = COMMANDS[name].load()

    def fail(self: object) -> NoReturn:
        raise error

    monkeypatch.setattr(command_class, "run", fail)
    found = re.search(r"^    cxr (.*)$", inspect.cleandoc(command_class.__doc__ or ""), flags=re.MULTILINE)
    assert found
    with pytest.raises(SystemExit) as caught:
        main(shlex.split(found[1]))
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize("name", COMMANDS)
def test_an_error_of_the_system_is_path_and_reason(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "/other/folder/x.json")
    assert thrown_into(name, error, monkeypatch) == 2
    assert capfd.readouterr().err == "error: /other/folder/x.json: Permission denied\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unforeseen_error_is_one_line_and_a_file(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CXR_TRACEBACK", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert thrown_into(name, ZeroDivisionError("first\nsecond"), monkeypatch) == 1
    said = capfd.readouterr().err
    found = DETAILS.search(said)
    assert found and said.startswith(f"error: cxr {name}: ZeroDivisionError: first second")
    assert len(said.splitlines()) == 1
    assert Path(found[1]).parent == tmp_path
    assert "Traceback" in Path(found[1]).read_text() and "in fail" in Path(found[1]).read_text()


def test_a_traceback_is_printed_on_request(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXR_TRACEBACK", "1")
    assert thrown_into("models", KeyError("x"), monkeypatch) == 1
    said = capfd.readouterr().err
    assert said.startswith("Traceback") and said.endswith("error: cxr models: KeyError: 'x' (details: above)\n")


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert thrown_into("report", OSError(errno.ENOSPC, "No space left on device", "out/x"), monkeypatch) == 2
    assert capfd.readouterr().err == "error: out/x: the disk is full\n"


@pytest.mark.parametrize(
    ("redirection", "status", "said"),
    [
        ("> /dev/full", 2, "error: cxr --version: the disk is full\n"),
        (">&-", 0, ""),
        ("| true", 0, ""),
    ],
)
def test_standard_output_that_takes_nothing(redirection: str, status: int, said: str) -> None:
    script = f"set -o pipefail; {shlex.quote(sys.executable)} -m launch.cli --version {redirection}"
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}, check=False
    )
    assert (done.returncode, done.stderr) == (status, said)


def test_file_names_that_are_not_utf_8_are_printed(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    command = [os.fsencode(sys.executable), b"-m", b"launch.cli", b"inspect", folder]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 2
    assert b"\\udcff: " in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_line_end_in_a_name_does_not_split_the_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path / "a\nb.beton")])
    assert capfd.readouterr().err.splitlines()[0].startswith(f"error: {tmp_path}/a\\nb.beton: ")
