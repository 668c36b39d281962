"""Compute the scene's grid on this machine, undisturbed, to compare with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from shell import SCENE

from launch.executors.prepare import prepare_folder
from launch.grids.registry import load_grid_file

CXR = [sys.executable, "-m", "launch.cli"]
ON_CPU = ["--device", "cpu"]
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
    """Run the whole grid: by the local executor, the runs meant for two nodes by two processes here."""
    folders = ["--runs-dir", str(runs_dir), "--data-dir", str(data_dir)]
    for only in ("narrow", "limit"):
        submit = [*CXR, "grid", "submit", SCENE, "--only", only, *folders, "--slots", "2", "--threads-per-run", "1"]
        _run([*submit, *ON_CPU])
    for run in load_grid_file(Path(SCENE)).runs:
        if run.name.startswith("wide"):
            config = prepare_folder(run, runs_dir).config_file
            threads = ["--num-threads", "1", "--num-workers", "1", "--num-processes", "2"]
            _run([*CXR, "train", str(config), *folders, *ON_CPU, *threads])
    return results(SCENE, runs_dir)


def results(grid_file: str, runs_dir: Path) -> dict[str, Any]:
    """What must depend neither on the place nor on the stops of a run, by its name."""
    found = {}
    for run in load_grid_file(Path(grid_file)).runs:
        result = json.loads((runs_dir / run.run_id / "result.json").read_text())
        found[run.name] = {key: result.get(key) for key in COMPARED}
    return found


def _run(command: list[str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # The disturbed runs go on meanwhile, and go first: theirs are the clocks that tick.
    done = subprocess.run(
        ["nice", "-n", "19", *command], capture_output=True, text=True, env=environment, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
