"""PBS, LSF, HTCondor and Kubernetes through ``cxr grid``, with stand-ins of their commands."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from grid_stand_in import __file__ as stand_in
from grid_stand_in import read_trace
from in_process_cli import run_cli, run_json
from scheduler_stand_in import install

from launch.executors.clusters.lsf import LsfExecutor
from launch.executors.prepare import TrainCommand
from launch.grids.grid import GridRun
from launch.grids.registry import load_grid

GRID = """
[defaults]
data.dataset = "chestxray14"
network.name = "densenet40"

[[runs]]
name = "first"
init.kind = "none"

[[runs]]
name = "second"
init.run = "first"

[[runs]]
name = "bad"
data.subset = "200"
init.kind = "none"

[[runs]]
name = "child"
init.run = "bad"
"""
PROFILES = {
    "pbs": 'queue = "gpu"\n',
    "lsf": 'queue = "gpu"\n',
    "htcondor": "",
    "kubernetes": 'image = "cxr:1"\npython = "{python}"\nvolumes = {{ "/tmp" = "claim" }}\n',
}
ORDERED = ("pbs", "lsf")
"""Those that let jobs wait for others."""
ONCE = (
    "import pathlib, runpy, sys, time; path = pathlib.Path(sys.argv[2]) / 'once'; seen = path.exists(); path.touch();"
    "seen or time.sleep(60); sys.argv[:] = sys.argv[1:]; sys.argv.insert(1, 'train');"
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
"""A training that only its second start ends."""


class Site:
    """A folder of runs of the grid, a profile, and the scheduler's stand-in."""

    def __init__(self, scheduler: str, folder: Path) -> None:
        self.scheduler, self.folder, self.queue = scheduler, folder, install(folder / "bin")
        (folder / "grid.toml").write_text(GRID)
        (folder / "chestxray14.beton").touch()
        common = "gpus_per_run = 0\ncpus_per_task = 1\ntime_min = 10\nmax_tries = 1\n"
        (folder / "profile.toml").write_text(common + PROFILES[scheduler].format(python=sys.executable))
        self.runs_dir = folder / "runs"
        self.ids = {run.name: run.run_id for run in load_grid(str(folder / "grid.toml")).runs}

    def grid(self, command: str, *arguments: str) -> int:
        queues = command in ("submit", "retry", "watch")
        profile = ("--executor", self.scheduler, "--cluster", str(self.folder / "profile.toml"), "--allow-dirty")
        options = (*self.where, *(profile if queues else ()))
        return run_cli("grid", command, str(self.folder / "grid.toml"), *arguments, *options)

    @property
    def where(self) -> tuple[str, ...]:
        return ("--runs-dir", str(self.runs_dir), "--data-dir", str(self.folder))

    def states(self, capsys: pytest.CaptureFixture[str]) -> dict[str, dict]:
        capsys.readouterr()
        runs = run_json(capsys, "grid", "status", str(self.folder / "grid.toml"), *self.where)["runs"]
        return {run["name"]: run for run in runs}

    def calls(self, command: str) -> list[str]:
        return [line for line in (self.queue / "calls.txt").read_text().splitlines() if line.startswith(command)]

    def starts(self) -> Counter[str]:
        names = {run_id: name for name, run_id in self.ids.items()}
        return Counter(names[str(event["id"])] for event in read_trace(self.runs_dir) if event["event"] == "start")


@pytest.fixture(params=sorted(PROFILES))
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(request.param, tmp_path)

    def command(self: TrainCommand, run: GridRun) -> list[str]:
        folder = str(self.runs_dir / run.run_id)
        if run.name == "first":
            return [sys.executable, "-I", "-S", "-c", ONCE, stand_in, folder, "ok"]
        return [sys.executable, "-I", "-S", stand_in, "train", folder, "fail" if run.name == "bad" else "ok"]

    monkeypatch.setattr(TrainCommand, "__call__", command)
    monkeypatch.setattr(LsfExecutor, "settle_s", 0.0)  # its stand-in shows jobs at once
    monkeypatch.setenv("PATH", f"{made.queue}:{os.environ['PATH']}")
    return made


def test_a_grid_is_queued_followed_cancelled_preempted_and_retried(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    ordered = site.scheduler in ORDERED
    (site.queue / "hold").touch()
    assert site.grid("submit", "--dry-run") == 0
    assert not site.runs_dir.exists()
    capsys.readouterr()
    assert site.grid("submit") == 0
    first_line = capsys.readouterr().err.splitlines()[0]
    assert first_line == ("4 runs: 4 queued" if ordered else "4 runs: 2 queued, 2 postponed")
    assert site.grid("submit") == 0  # nothing is queued twice
    assert "already queued or running" in capsys.readouterr().err.splitlines()[0]
    jobs = json.loads((site.queue / "jobs.json").read_text())
    by_id = {job["id"]: job["name"] for job in jobs}
    assert len(by_id) == len(set(by_id.values())) == (4 if ordered else 2)
    records = {name: json.loads(path.read_text()) for name, path in records_of(site).items()}
    assert {by_id[record["job"]] for record in records.values()} == set(by_id.values())
    needs = {job["id"]: job["needs"] for job in jobs}
    if ordered:
        assert needs[records["second"]["job"]] == [records["first"]["job"]]
        assert needs[records["child"]["job"]] == [records["bad"]["job"]]

    waiting = site.states(capsys)
    assert [waiting[name]["state"] for name in ("first", "bad")] == ["queued", "queued"]
    assert waiting["first"]["job"] == records["first"]["job"]
    assert waiting["second"]["state"] == ("queued" if ordered else "absent")
    assert site.grid("cancel", "--only", "bad") == 0
    assert capsys.readouterr().err == ("2 jobs cancelled\n" if ordered else "1 job cancelled\n")
    assert {name for name, run in site.states(capsys).items() if run["state"] == "cancelled"} == {"bad", "child"}

    (site.queue / "hold").unlink()
    wait_for_start(site, capsys, "first")
    (site.queue / "preempt").touch()
    assert site.grid("watch", "--interval-s", "0.3") == 1  # what was cancelled stays out
    states = site.states(capsys)
    assert {name: run["state"] for name, run in states.items()} == {
        "first": "done",
        "second": "done",
        "bad": "cancelled",
        "child": "cancelled",
    }
    assert states["first"]["restarts"] == 1
    assert site.starts() == {"first": 1, "second": 1}
    assert site.grid("logs", "first") == 0
    assert "requeued" in capsys.readouterr().err.splitlines()[0]

    assert site.grid("retry", "--cancelled") == 0
    assert site.grid("watch", "--interval-s", "0.3") == 1
    states = site.states(capsys)
    assert states["bad"]["error"] == "ValueError: bad images"
    assert states["second"]["state"] == "done"
    assert site.grid("retry") == 0
    wait_until(site, capsys, lambda runs: runs["bad"]["state"] == "failed" and site.starts()["bad"] == 2)
    if ordered:
        wait_until(site, capsys, lambda runs: runs["child"]["state"] == "failed")
        assert site.states(capsys)["child"]["error"] == "needs bad, which failed"
    assert site.starts() == {"first": 1, "second": 1, "bad": 2}


def test_what_a_job_printed_before_its_run_is_shown(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """A setup line that fails is why the run failed, and what ``logs`` prints."""
    profile = site.folder / "profile.toml"
    lines = '["echo loading cuda", "module() { false; }; module load cuda"]'
    profile.write_text(f"setup = {lines}\n{profile.read_text()}")
    assert site.grid("submit", "--only", "bad") == 0
    wait_until(site, capsys, lambda runs: runs["bad"]["state"] == "failed")
    error = site.states(capsys)["bad"]["error"]
    assert re.fullmatch(r"job \S+ did not start it: error: a setup line of the profile failed: module\(.*", error)
    assert site.grid("logs", "bad") == 0
    assert capsys.readouterr().out.startswith("loading cuda\n")
    assert site.starts() == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("partition = 'x'\n", "key 'partition' is unknown"),
        ("signal_delay_s = 600\n", "signal_delay_s must lie between 0 and the time limit, 600 s"),
    ],
)
def test_a_wrong_profile_is_one_clear_error(
    site: Site, change: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = site.folder / "profile.toml"
    profile.write_text(change + profile.read_text())
    assert site.grid("submit") == 2
    error = capsys.readouterr().err
    assert (len(error.splitlines()), message in error) == (1, True)
    assert site.calls("") == []


def records_of(site: Site) -> dict[str, Path]:
    folder = site.runs_dir / site.scheduler
    paths = {name: folder / f"{run_id}.json" for name, run_id in site.ids.items()}
    return {name: path for name, path in paths.items() if path.exists()}


def wait_for_start(site: Site, capsys: pytest.CaptureFixture[str], name: str) -> None:
    wait_until(site, capsys, lambda _: (site.runs_dir / site.ids[name] / "once").exists())


def wait_until(site: Site, capsys: pytest.CaptureFixture[str], ready) -> None:
    deadline = time.monotonic() + 60
    while not ready(site.states(capsys)):
        assert time.monotonic() < deadline, site.states(capsys)
        time.sleep(0.3)
