"""Compute the scene's grid on this machine, undisturbed, to compare with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from shell import SCENE

from harness.runs.runtime import RuntimeConfig
from launch.executors.prepare import prepare_folder
from launch.grids.grid import GridRun
from launch.grids.registry import load_grid_file

CXR = [sys.executable, "-m", "launch.cli"]
ROOT = Path(__file__).resolve().parents[2]
COMPARED = (
    "weights_hash",
    "beta",
    "test",
    "validation",
    "best_epoch",
    "epochs",
    "world_size",
    "train_images",
    "skipped_steps",
)


def undisturbed_results(data_dir: Path, runs_dir: Path) -> dict[str, Any]:
    """Train the whole grid: in one process, the runs meant for two nodes by two processes."""
    folders = ["--runs-dir", str(runs_dir), "--data-dir", str(data_dir)]
    _run([sys.executable, __file__, str(data_dir), str(runs_dir)])
    for run in load_grid_file(Path(SCENE)).runs:
        if is_wide(run):
            config = prepare_folder(run, runs_dir).config_file
            threads = ["--num-threads", "1", "--num-workers", "1", "--num-processes", "2"]
            _run([*CXR, "train", str(config), *folders, "--device", "cpu", *threads])
    return results(SCENE, runs_dir)


def train_narrow(data_dir: Path, runs_dir: Path) -> None:
    """Train the runs of one process each, one after another; a process for each would take thrice as long."""
    from harness.training.run import train_run

    runtime = RuntimeConfig(data_dir=data_dir, runs_dir=runs_dir, device="cpu", num_threads=1, num_workers=1)
    for run in load_grid_file(Path(SCENE)).runs:
        if not is_wide(run):
            train_run(run.config, runtime)


def is_wide(run: GridRun) -> bool:
    return run.name.startswith("wide")


def results(grid_file: str, runs_dir: Path) -> dict[str, Any]:
    """What must depend neither on the place nor on the stops of a run, by its name."""
    found = {}
    for run in load_grid_file(Path(grid_file)).runs:
        result = json.loads((runs_dir / run.run_id / "result.json").read_text())
        found[run.name] = {key: result.get(key) for key in COMPARED}
    return found


def _run(command: list[str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    # The disturbed runs go on meanwhile, and go first: theirs are the clocks that tick.
    done = subprocess.run(
        ["nice", "-n", "19", *command], capture_output=True, text=True, env=environment, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


if __name__ == "__main__":
    train_narrow(Path(sys.argv[1]), Path(sys.argv[2]))
