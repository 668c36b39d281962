"""A folder of runs whose trainings are stand-ins, and ``cxr grid`` with one of the schedulers' executors on it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from grid_stand_in import __file__ as stand_in
from grid_stand_in import read_trace
from in_process_cli import run_cli, run_json

from launch.executors.prepare import TrainCommand
from launch.executors.registry import current_states
from launch.grids.grid import GridRun, needs_first
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
COMMON = "gpus_per_run = 0\ncpus_per_task = 1\ntime_min = 10\nmax_tries = 1\n"
ORDERED = ("pbs", "lsf")
"""Those that let jobs wait for others."""
ONCE = (
    "import pathlib, runpy, sys, time; path = pathlib.Path(sys.argv[2]) / 'once'; seen = path.exists(); path.touch();"
    "seen or time.sleep(60); sys.argv[:] = sys.argv[1:]; sys.argv.insert(1, 'train');"
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
"""A training that only its second start ends."""


def stand_in_command(self: TrainCommand, run: GridRun) -> list[str]:
    """The command of a run: the one named first takes two starts, bad fails, the others end well at once."""
    folder = str(self.runs_dir / run.run_id)
    if run.name == "first":
        return [sys.executable, "-I", "-S", "-c", ONCE, stand_in, folder, "ok"]
    return [sys.executable, "-I", "-S", stand_in, "train", folder, "fail" if run.name == "bad" else "ok"]


class Site:
    """A folder of runs of the grid, and a profile."""

    def __init__(self, executor: str, folder: Path, capsys: pytest.CaptureFixture[str], profile: str = "") -> None:
        self.executor, self.folder, self.capsys = executor, folder, capsys
        (folder / "grid.toml").write_text(GRID)
        (folder / "chestxray14.beton").touch()
        self.profile, self.runs_dir = folder / "profile.toml", folder / "runs"
        self.profile.write_text(COMMON + (profile or PROFILES[executor].format(python=sys.executable)))
        self.runs = needs_first(load_grid(str(folder / "grid.toml")).runs)
        self.ids = {run.name: run.run_id for run in self.runs}

    def grid(self, command: str, *arguments: str) -> tuple[int, str]:
        """Exit status of ``cxr grid COMMAND``, and what it says."""
        options = ["--runs-dir", os.path.relpath(self.runs_dir), "--data-dir", str(self.folder)]
        if command in ("submit", "retry", "watch"):
            options += ["--executor", self.executor, "--cluster", str(self.profile), "--allow-dirty"]
        self.capsys.readouterr()
        status = run_cli("grid", command, str(self.folder / "grid.toml"), *arguments, *options)
        said = self.capsys.readouterr()
        return status, said.err + said.out

    def states(self) -> dict[str, dict]:
        """What ``cxr grid status`` says, by run name."""
        self.capsys.readouterr()
        where = ("--runs-dir", os.path.relpath(self.runs_dir), "--data-dir", str(self.folder))
        runs = run_json(self.capsys, "grid", "status", str(self.folder / "grid.toml"), *where)["runs"]
        return {run["name"]: run for run in runs}

    def jobs(self) -> dict[str, str]:
        """Ids of the jobs that were queued last, by run name."""
        paths = {name: self.runs_dir / self.executor / f"{run_id}.json" for name, run_id in self.ids.items()}
        return {name: json.loads(path.read_text())["job"] for name, path in paths.items() if path.exists()}

    def starts(self) -> Counter[str]:
        """How often the stand-ins of trainings began what they do, by run name."""
        names = {run_id: name for name, run_id in self.ids.items()}
        return Counter(names[str(event["id"])] for event in read_trace(self.runs_dir) if event["event"] == "start")

    def wait_until(self, ready: Callable[[dict[str, str]], bool]) -> None:
        """Look, as ``cxr grid status`` does, until the states are as wanted."""
        deadline = time.monotonic() + 120
        while True:
            found = current_states(self.runs, self.runs_dir, {})
            states = {run.name: found[run.run_id].state for run in self.runs}
            if ready(states):
                return
            assert time.monotonic() < deadline, states
            time.sleep(0.5)

    def wait_for_first(self) -> None:
        """Wait until the run named first has begun."""
        self.wait_until(lambda _: (self.runs_dir / self.ids["first"] / "once").exists())
