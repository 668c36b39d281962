"""Prepare a run for its process: command line and config.json; record a failure that the process could not."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datasets.files import write_json
from harness.config import SCHEMA_VERSION, to_dict
from harness.runs.folder import RunFolder
from harness.runs.runtime import Precision
from launch.grids.grid import GridRun

FLUSHES = 8
"""Files that are flushed to the disk at once."""


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Options of ``cxr train`` shared by the runs of one submission; calling it with a run gives the command line."""

    runs_dir: Path
    data_dir: Path
    precision: Precision = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_threads: int | None = None
    """CPU threads of one run; None leaves it to the executor."""
    imagenet_weights: Path | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    """Further options of ``cxr train``, by field name; those that are None are left out."""

    def __call__(self, run: GridRun) -> list[str]:
        """Return the command line of a run, which works by hand too."""
        values = {
            **{name: getattr(self, name) for name in ("runs_dir", "data_dir", "precision", "device", "num_threads")},
            "num_workers": self.num_threads,
            "imagenet_weights": self.imagenet_weights,
            **self.options,
        }
        config = RunFolder(self.runs_dir / run.run_id).config_file
        return [sys.executable, "-m", "launch.cli", "train", str(config), *as_arguments(values)]


def as_arguments(values: Mapping[str, object]) -> list[str]:
    """Return command-line options for values by field name; None and empty tuples are left out."""
    found = []
    for name, value in values.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None and value != ():
            found += [f"--{option}", *map(str, value if isinstance(value, tuple) else (value,))]
    return found


def prepare_folders(runs: Sequence[GridRun], runs_dir: Path) -> None:
    """Prepare the folders of many runs: what each waits for is the disk, which flushes many files as soon as one."""
    with ThreadPoolExecutor(FLUSHES) as pool:
        for _ in pool.map(lambda run: prepare_folder(run, runs_dir), runs):
            pass


def prepare_folder(run: GridRun, runs_dir: Path) -> RunFolder:
    """Write the run's config.json, and clear an earlier failure."""
    folder = RunFolder(runs_dir / run.run_id)
    document = {"schema": SCHEMA_VERSION, "run_id": run.run_id, "name": run.config.name}
    write_json(folder.config_file, {**document, "config": to_dict(run.config)})
    clear_failure(folder)
    return folder


def clear_failure(folder: RunFolder) -> None:
    """Clear an earlier failure, so that it is not taken for one of the start that follows."""
    status = folder.status()
    if status.get("state") == "failed":
        write_json(folder.status_file, {**status, "state": "starting", "error": None, "updated": time.time()})


def record_failure(folder: RunFolder, reason: str) -> None:
    """Write into status.json that the run failed, for a process that could not write it itself."""
    write_json(folder.status_file, {**folder.status(), "state": "failed", "error": reason, "updated": time.time()})
