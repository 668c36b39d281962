"""Run ``cxr grid`` on a small grid as a user types it, and read exit status, output and the runs' states."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cluster import Cluster

from launch.grids.registry import load_grid_file
from launch.plan.history import read_history

HERE = Path(__file__).resolve().parent
TINY, SCENE = str(HERE / "tiny_grid.py"), str(HERE / "scene_grid.py")
PROFILE = """\
partition = "gpu"
gpus_per_run = 1
cpus_per_task = 1
time_min = 30
device = "cpu"
array_parallelism = 2
setup = ["export OMP_NUM_THREADS=1"]
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """``cxr grid`` on a small grid, in one folder of runs."""

    cluster: Cluster
    data_dir: Path
    runs_dir: Path
    profile: Path
    grid_file: str = TINY
    checkout: Path = HERE.parents[1]
    """Whose code runs."""

    def grid(self, command: str, *arguments: str) -> Done:
        """Run ``cxr grid COMMAND`` to its end."""
        process = self.start(command, *arguments)
        out, err = process.communicate(timeout=240)
        return Done(process.returncode, out, err)

    def start(self, command: str, *arguments: str) -> subprocess.Popen[str]:
        """Start ``cxr grid COMMAND``."""
        line = [
            sys.executable,
            "-m",
            "launch.cli",
            "grid",
            command,
            self.grid_file,
            *arguments,
            "--runs-dir",
            str(self.runs_dir),
        ]
        if command != "cancel":
            line += ["--data-dir", str(self.data_dir)]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.checkout)

    def queue(self, only: str, *arguments: str) -> Done:
        """Submit a part of the grid to the cluster."""
        return self.grid("submit", "--cluster", str(self.profile), "--allow-dirty", "--only", only, *arguments)

    def states(self, only: str) -> dict[str, dict[str, Any]]:
        """What ``cxr grid status --json`` says, by run name."""
        done = self.grid("status", "--only", only, "--json")
        assert done.status == 0, done.err
        return {run["name"]: run for run in json.loads(done.out)["runs"]}

    def wait(self, only: str, ready: Callable[[dict[str, dict[str, Any]]], bool], timeout_s: float = 300) -> None:
        """Wait until the states are as wanted."""
        deadline = time.monotonic() + timeout_s
        while not ready(states := self.states(only)):
            assert time.monotonic() < deadline, (states, self.cluster.run("squeue"))
            time.sleep(2.0)

    def drain(self, timeout_s: float = 60) -> None:
        """Wait until the queue is empty."""
        deadline = time.monotonic() + timeout_s
        while queued := self.cluster.run("squeue", "-h"):
            assert time.monotonic() < deadline, queued
            time.sleep(0.2)

    def folder(self, name: str) -> Path:
        """Folder of a run."""
        return self.runs_dir / run_id_of(self.grid_file, name)

    def status(self, name: str) -> dict[str, Any]:
        """What a run's status.json says; nothing before there is one."""
        return read(self.folder(name) / "status.json") or {}

    def starts(self, name: str) -> list[dict[str, Any]]:
        """The starts of a run."""
        return read_history(self.folder(name))

    def endings(self, name: str) -> list[str | None]:
        """How the starts of a run ended."""
        return [start["ending"] for start in self.starts(name)]

    def is_under_way(self, name: str, epoch: int = 1) -> bool:
        """Whether a run trains now, so many epochs done."""
        status = self.status(name)
        return status.get("state") == "running" and status["epoch"] >= epoch


def read(path: Path) -> Any:
    """What a JSON file holds; None when there is none."""
    return json.loads(path.read_text()) if path.exists() else None


@cache
def run_id_of(grid_file: str, name: str) -> str:
    """Id of the grid's run of this name."""
    return next(run.run_id for run in load_grid_file(Path(grid_file)).runs if run.name == name)
