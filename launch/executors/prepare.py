"""Prepare a run for its process: command line and config.json; record a failure that the process could not."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datasets.files import as_json, write_json, write_text
from harness.config import SCHEMA_VERSION, to_dict
from harness.runs.folder import RunFolder
from harness.runs.runtime import Precision
from launch.grids.grid import GridRun


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
    """Prepare the folders of many runs that will be queued.

    Nothing waits for the disk: what a power cut loses, the next submission writes again.
    """
    for run in runs:
        folder = RunFolder(runs_dir / run.run_id)
        folder.path.mkdir(parents=True, exist_ok=True)
        partial = folder.path / f".config.json.{os.getpid()}.partial"
        partial.write_text(_config_text(run), encoding="utf-8")
        partial.replace(folder.config_file)
        clear_failure(folder)


def prepare_folder(run: GridRun, runs_dir: Path) -> RunFolder:
    """Write the run's config.json, and clear an earlier failure."""
    folder = RunFolder(runs_dir / run.run_id)
    write_text(folder.config_file, _config_text(run))
    clear_failure(folder)
    return folder


def _config_text(run: GridRun) -> str:
    document = {"schema": SCHEMA_VERSION, "run_id": run.run_id, "name": run.config.name}
    return as_json({**document, "config": to_dict(run.config)})


def clear_failure(folder: RunFolder) -> None:
    """Clear an earlier failure, so that it is not taken for one of the start that follows."""
    status = folder.status()
    if status.get("state") == "failed":
        write_json(folder.status_file, {**status, "state": "starting", "error": None, "updated": time.time()})


def record_failure(folder: RunFolder, reason: str) -> None:
    """Write into status.json that the run failed, for a process that could not write it itself."""
    write_json(folder.status_file, {**folder.status(), "state": "failed", "error": reason, "updated": time.time()})
