"""``cxr grid drill`` without a queue, its trainings replaced by stand-ins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drill_stand_in import guarded
from in_process_cli import run_cli

from launch.drill import folder


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "GuardedCommand", guarded())


def test_on_one_machine_all_that_can_be_tried_survives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "drill"
    (place / "runs" / "old").mkdir(parents=True)
    (place / "drill.toml").touch()  # as a drill leaves it that was interrupted
    assert run_cli("grid", "drill", "--executor", "local", "--folder", str(place), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    cases = {case["case"]: case for case in document["cases"]}
    assert {name: case["outcome"] for name, case in cases.items()} == {
        "undisturbed": "survived",
        "requeued": "not tried",
        "cancelled": "survived",
        "timed_out": "not tried",
        "killed": "survived",
        "disk_full": "survived",
    }
    assert {case["same_weights"] for name, case in cases.items() if case["outcome"] == "survived"} == {None, True}
    assert cases["undisturbed"]["same_weights"] is None
    assert (document["ok"], document["folder"], document["findings"]) == (True, None, [])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").touch()
    assert run_cli("grid", "drill", "--folder", str(tmp_path)) == 2
    assert (
        capsys.readouterr().err
        == f"error: --folder {tmp_path}: holds something else than a drill; name a new folder\n"
    )
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--executor", "slurm"), "--executor slurm needs --cluster PROFILE"),
        (("--executor", "local", "--profile", "p.toml"), "--executor local takes no --cluster profile"),
        (("--wait-min", "0"), "--wait-min 0: expected a number above 0"),
    ],
)
def test_options_that_contradict_are_refused(
    options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("grid", "drill", *options) == 2
    assert words in capsys.readouterr().err
