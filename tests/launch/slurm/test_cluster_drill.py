"""``cxr grid drill`` in a real SLURM's queue: as it is, and with settings that prevent that runs survive."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from drill_stand_in import guarded
from in_process_cli import run_cli
from shell import PROFILE

from launch.drill import folder, queue

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def drill(profile: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], dict[str, dict[str, Any]]]:
    """Exit status, the JSON document, and its cases by name."""
    capsys.readouterr()
    place = profile.with_name("drill")
    status = run_cli("grid", "drill", "--profile", str(profile), "--folder", str(place), "--json")
    document = json.loads(capsys.readouterr().out)
    return status, document, {case["case"]: case for case in document["cases"]}


@pytest.fixture
def profile(cluster: Cluster, tmp_path: Path) -> Path:
    made = tmp_path / "profile.toml"
    made.write_text(PROFILE.replace("array_parallelism = 2\n", ""))
    return made


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings are replaced by stand-ins, which begin at once and are told of their limit at once."""
    monkeypatch.setattr(folder, "GuardedCommand", guarded())
    monkeypatch.setattr(queue, "NEAR_MIN", 0)


def test_all_survives_with_the_same_weights(
    profile: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    status, document, cases = drill(profile, capsys)
    assert (status, document["ok"], document["folder"]) == (0, True, None), document
    assert {case["outcome"] for case in cases.values()} == {"survived"}
    assert [case["same_weights"] for case in cases.values()] == [None, True, True, True, True, True]
    ended = {name: case["what"].partition("ended by: ")[2].split(", ") for name, case in cases.items()}
    assert ended == {
        "undisturbed": [""],
        "requeued": ["requeued", "done"],
        "cancelled": ["cancelled", "done"],
        "killed": ["failed", "done"],
        "disk_full": ["failed", "done"],
        "timed_out": ["time limit", "done"],
    }
    assert [finding["area"] for finding in document["findings"]] == ["preemption"]
    assert not profile.with_name("drill").exists()
    assert cluster.run("squeue", "-h") == ""


@pytest.mark.usefixtures("stand_ins")
def test_a_site_that_takes_no_job_back_and_keeps_no_accounts(
    profile: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What SLURM answers then; runs go on once they are submitted again, so nothing that can survive is lost."""
    programs = profile.with_name("bin")
    programs.mkdir()
    refusal = "Requested operation is presently disabled"
    refuse = f'[ "$1" = requeue ] && {{ echo "{refusal} for job $2" >&2; exit 1; }}'
    (programs / "scontrol").write_text(f'#!/bin/sh\n{refuse}\nexec {shutil.which("scontrol")} "$@"\n')
    (programs / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    cluster.restart_controller(has_accounting=False)
    try:
        status, document, cases = drill(profile, capsys)
    finally:
        cluster.restart_controller(has_accounting=True)
    assert (status, document["ok"]) == (0, True), document
    prevented = {name for name, case in cases.items() if case["outcome"] == "prevented"}
    assert prevented == {"requeued", "timed_out"}
    assert {case["same_weights"] for case in cases.values()} == {None, True}
    findings = {finding["area"]: finding for finding in document["findings"]}
    assert findings["requeue"]["what"] == f"scontrol: {refusal}"
    assert findings["requeue"]["fix"].startswith(
        "the site forbids it, and no line of the profile allows it; cxr grid "
    )
    assert findings["accounting"]["level"] == "warn"


@pytest.mark.parametrize(
    ("line", "area", "words"),
    [
        ('setup = ["true", "cd /nowhere"]', "setup", "a setup line of the profile failed: cd /nowhere"),
        ('python = "/nowhere/python"', "python", "execve(): /nowhere/python: No such file or directory"),
    ],
)
def test_jobs_that_never_begin_are_told_with_the_line_that_mends_them(
    profile: Path, line: str, area: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [text for text in PROFILE.splitlines() if not text.startswith("setup")]
    profile.write_text("\n".join([*kept, line]) + "\n")
    status, document, cases = drill(profile, capsys)
    assert status == 1
    assert {case["outcome"] for case in cases.values()} == {"prevented"}
    (finding,) = [finding for finding in document["findings"] if finding["level"] == "fail"]
    assert (finding["area"], words in finding["what"]) == (area, True)
    assert finding["fix"].startswith(f"{profile}:{len(kept) + 1}: {line}; ")
    assert document["folder"] == str(profile.with_name("drill"))
    assert (profile.with_name("drill") / "runs").is_dir()
