"""Measure whole commands on grids of many runs, half of them done.

Every figure is that of a command as it is typed, from its start to its end. The only stand-ins are SLURM's commands
for the submit: scripts that write down what they are asked (``benchmarks/grids/fake_slurm.py``).
"""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common.environment import describe, load_average
from benchmarks.common.results import spread
from benchmarks.common.settings import Bench, check_names, check_positive
from benchmarks.grids.fake_slurm import num_calls, write_commands
from benchmarks.grids.made_up import made_up_grid, write_run_folders
from datasets.errors import InputError

COMMANDS = ("plan", "status", "status_json", "submit", "status_queued")
MAX_SUBMITS = 2000
"""A grid of more runs is submitted once only: its files are many."""
NOTE = (
    "Seconds of whole commands, start of Python included. The submit's sbatch, squeue and scontrol are scripts that "
    "write down what they are asked; no SLURM is involved. Three fifths of the runs are done, a quarter was never "
    "started, the rest runs, has failed or was interrupted; the submit starts from no folders at all."
)


@dataclass(frozen=True, kw_only=True)
class BenchGrid(Bench):
    """Measure whole commands over grids of many runs: plan, status, and a submit against a recorded sbatch.

    For example:
        cxr bench grid --out benchmarks --sizes 200 2000 20000
    """

    sizes: tuple[int, ...] = (200, 2000, 20_000)
    """Numbers of runs."""
    rounds: int = 5
    """Times that each command is measured; a submit of more than 2,000 runs once."""
    only: tuple[str, ...] = ()
    """Of plan, status, status_json, submit, status_queued (of what the submit queued); default: all."""

    def measure(self) -> dict[str, Any]:
        check_positive(self, "rounds")
        check_names("--only", self.only, COMMANDS, "command")
        for size in self.sizes:
            if size < 140:
                raise InputError(f"--sizes {size}: expected at least 140, which the paper's searches need")
        rows: list[dict[str, Any]] = []
        environment = {"kind": "grid", "rounds": self.rounds, "note": NOTE, **describe()}
        with tempfile.TemporaryDirectory(prefix="cxr-bench-grid-") as folder:
            for size in self.sizes:
                place = Place(Path(folder) / str(size), size)
                rows += [place.measure(name, self.rounds) for name in COMMANDS if name in (self.only or COMMANDS)]
                shutil.rmtree(place.folder)
        environment["load_average_after"] = load_average()
        return {"environment": environment, "rows": rows, "ratios": grid_ratios(rows)}


class Place:
    """A made-up grid of one size with its folders, and the commands over it."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.runs_dir, self.data_dir = folder / "runs", folder / "data"
        print(f"writing the folders of {size} runs", file=sys.stderr, flush=True)
        grid = made_up_grid(size)
        write_run_folders(grid, self.runs_dir)
        self.grid_file = folder / "made_up.py"
        text = (
            f"from benchmarks.grids.made_up import made_up_grid\n\n\ndef grid():\n    return made_up_grid({size})\n"
        )
        self.grid_file.write_text(text, encoding="utf-8")
        self.data_dir.mkdir()
        for dataset in {run.config.data.dataset for run in grid.runs}:
            (self.data_dir / f"{dataset}.beton").touch()
        self.profile = folder / "profile.toml"
        self.profile.write_text('partition = "gpu"\n', encoding="utf-8")
        self.slurm = write_commands(folder / "slurm")

    def measure(self, name: str, rounds: int) -> dict[str, Any]:
        """One row: the command's seconds in each round, and for a submit the calls of SLURM's commands."""
        if name == "submit" and self.size > MAX_SUBMITS:
            rounds = 1
        print(f"{name} of {self.size} runs", file=sys.stderr, flush=True)
        measured = [self._once(name) for _ in range(rounds)]
        seconds = [wall for wall, _ in measured]
        row: dict[str, Any] = {
            "command": name,
            "runs": self.size,
            "rounds": rounds,
            "seconds": median(seconds),
            "spread": spread(seconds),
            "values": seconds,
            "cpu_seconds": median(cpu for _, cpu in measured),
        }
        if name == "submit":
            row["calls"] = num_calls(self.slurm)
        return row

    def _once(self, name: str) -> tuple[float, float]:
        """Wall and CPU seconds of the command."""
        queued = self.folder / "queued"
        if name == "submit":
            shutil.rmtree(queued, ignore_errors=True)
            write_commands(self.slurm)
        profile_and_data = ["--cluster", str(self.profile), "--data-dir", str(self.data_dir), "--allow-dirty"]
        options = {"submit": profile_and_data, "status_json": ["--json"]}.get(name, [])
        verb, runs_dir = name.partition("_")[0], queued if name in ("submit", "status_queued") else self.runs_dir
        command = [sys.executable, "-m", "launch.cli", "grid", verb, str(self.grid_file)]
        command += ["--runs-dir", str(runs_dir), *options]
        environment = {**os.environ, "PATH": f"{self.slurm}{os.pathsep}{os.environ['PATH']}"}
        before, began = children_cpu_s(), time.perf_counter()
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, check=False
        )
        seconds = time.perf_counter() - began
        if done.returncode != 0:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise InputError(f"cxr grid {verb} of {self.size} runs ended with {done.returncode}: {last}")
        return seconds, children_cpu_s() - before


def children_cpu_s() -> float:
    """CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def grid_ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Seconds of plan and status together by size, and how a run's share of them grows from size to size."""
    seconds = {(row["command"], row["runs"]): row["seconds"] for row in rows}
    sizes = sorted({runs for _, runs in seconds})
    found: dict[str, float | None] = {}
    for size in sizes:
        both = [seconds.get((name, size)) for name in ("plan", "status")]
        found[f"plan_and_status_{size}_s"] = None if None in both else sum(filter(None, both))
    for smaller, larger in itertools.pairwise(sizes):
        first, second = found[f"plan_and_status_{smaller}_s"], found[f"plan_and_status_{larger}_s"]
        growth = None if first is None or second is None else (second / larger) / (first / smaller)
        found[f"seconds_per_run_{larger}_over_{smaller}"] = growth
    return found
