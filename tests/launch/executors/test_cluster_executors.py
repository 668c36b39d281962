"""PBS, LSF, HTCondor and Kubernetes through ``cxr grid``, with stand-ins of their commands."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from queue_site import ORDERED, PROFILES, Site, stand_in_command
from scheduler_stand_in import install

from launch.executors.clusters.lsf import LsfExecutor
from launch.executors.prepare import TrainCommand


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The schedulers' stand-ins, at the front of PATH."""
    folder = install(tmp_path / "bin")
    monkeypatch.setattr(TrainCommand, "__call__", stand_in_command)
    monkeypatch.setattr(LsfExecutor, "settle_s", 0.0)  # its stand-in shows jobs at once
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture(params=sorted(PROFILES))
def site(request: pytest.FixtureRequest, queue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(request.param, tmp_path, capsys)


def test_places_are_refused_before_anything_is_queued(site: Site) -> None:
    with site.profile.open("a") as profile:
        profile.write("[[place]]\nwhen = 'seed == 0'\n")
    words = (
        "[[place]] is for profiles of --executor slurm alone; submit each part by --only with a profile of its own"
    )
    for options in (("--dry-run",), ()):
        status, said = site.grid("submit", *options)
        assert (status, said.splitlines()[0]) == (2, f"error: {site.profile}: {words}")
    assert not site.runs_dir.exists()


def test_a_grid_is_queued_followed_cancelled_stopped_and_retried(site: Site, queue: Path) -> None:
    ordered = site.executor in ORDERED
    (queue / "hold").touch()
    assert site.grid("submit", "--dry-run")[0] == 0
    assert not site.runs_dir.exists()
    status, said = site.grid("submit")
    assert (status, said.splitlines()[0]) == (0, f"4 runs: {'4 queued' if ordered else '2 queued, 2 postponed'}")
    status, said = site.grid("submit")  # nothing is queued twice
    assert (status, "already queued or running" in said.splitlines()[0]) == (0, True)
    queued = json.loads((queue / "jobs.json").read_text())
    names, needs = {job["id"]: job["name"] for job in queued}, {job["id"]: job["needs"] for job in queued}
    assert len(queued) == len(set(names.values())) == (4 if ordered else 2)
    jobs = site.jobs()
    assert set(jobs.values()) == set(names)
    if ordered:
        expected = {"first": [], "second": [jobs["first"]], "bad": [], "child": [jobs["bad"]]}
        assert {name: needs[job] for name, job in jobs.items()} == expected

    states = site.states()
    assert (states["first"]["state"], states["first"]["job"]) == ("queued", jobs["first"])
    assert states["second"]["state"] == ("queued" if ordered else "absent")
    assert site.grid("cancel", "--only", "bad") == (0, f"{'2 jobs' if ordered else '1 job'} cancelled\n")
    assert {name for name, run in site.states().items() if run["state"] == "cancelled"} == {"bad", "child"}

    (queue / "hold").unlink()
    site.wait_for_first()
    (queue / "stop").touch()  # PBS alone does not queue such a job again
    assert site.grid("watch", "--interval-s", "0.5")[0] == 1  # what was cancelled stays out
    states = site.states()
    assert {name: run["state"] for name, run in states.items()} == {
        "first": "done",
        "second": "done",
        "bad": "cancelled",
        "child": "cancelled",
    }
    assert states["first"]["restarts"] == 1
    assert site.starts() == {"first": 1, "second": 1}
    ending = "terminated" if site.executor == "pbs" else "requeued"
    assert site.grid("logs", "first")[1].splitlines()[0].endswith(f": {ending}")

    assert site.grid("retry", "--cancelled")[0] == 0
    assert site.grid("watch", "--interval-s", "0.5")[0] == 1
    assert site.states()["bad"]["error"] == "ValueError: bad images"
    assert site.grid("retry")[0] == 0
    fails = ("bad", "child") if ordered else ("bad",)
    site.wait_until(lambda states: all(states[name] == "failed" for name in fails))
    assert site.states()[fails[-1]]["error"] == ("needs bad, which failed" if ordered else "ValueError: bad images")
    assert site.starts() == {"first": 1, "second": 1, "bad": 2}


def test_what_a_job_printed_before_its_run_is_shown(site: Site) -> None:
    """A setup line that fails is why the run failed, and what ``logs`` prints."""
    lines = '["echo loading cuda", "module() { false; }; module load cuda"]'
    site.profile.write_text(f"setup = {lines}\n{site.profile.read_text()}")
    assert site.grid("submit", "--only", "bad")[0] == 0
    site.wait_until(lambda states: states["bad"] == "failed")
    error = site.states()["bad"]["error"]
    assert re.fullmatch(r"job \S+ did not start it: error: a setup line of the profile failed: module\(.*", error)
    status, said = site.grid("logs", "bad")
    assert (status, said.splitlines()[1]) == (0, "loading cuda")
    assert site.starts() == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("partition = 'x'\n", "key 'partition' is unknown"),
        ("signal_delay_s = 600\n", "signal_delay_s must lie between 0 and the time limit, 600 s"),
    ],
)
def test_a_wrong_profile_is_one_clear_error(site: Site, queue: Path, change: str, message: str) -> None:
    site.profile.write_text(change + site.profile.read_text())
    status, said = site.grid("submit")
    assert (status, len(said.splitlines()), message in said) == (2, 1, True)
    assert (queue / "calls.txt").read_text() == ""
