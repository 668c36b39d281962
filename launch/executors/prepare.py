"""Prepare a run for its process: command line and config.json; record a failure that the process could not."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from datasets.files import as_json, write_json, write_text
from harness.config import SCHEMA_VERSION
from harness.config.checks import as_json_text
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
        config = f"{self.runs_dir}/{run.run_id}/config.json"
        return [sys.executable, "-m", "launch.cli", "train", config, *self._shared]

    @cached_property
    def _shared(self) -> list[str]:
        names = ("runs_dir", "data_dir", "precision", "device", "num_threads")
        own = {"num_workers": self.num_threads, "imagenet_weights": self.imagenet_weights, **self.options}
        return as_arguments({**{name: getattr(self, name) for name in names}, **own})


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


def prepare_folder(run: GridRun, runs_dir: Path) -> RunFolder:
    """Write the run's config.json, and clear an earlier failure."""
    folder = RunFolder(runs_dir / run.run_id)
    write_config(folder, config_text(run))
    clear_failure(folder)
    return folder


def config_text(run: GridRun) -> str:
    """Return what the run's config.json says, as JSON on one line."""
    names = f'"run_id": {json.dumps(run.run_id)}, "name": {json.dumps(run.config.name)}'
    return f'{{"schema": {SCHEMA_VERSION}, {names}, "config": {as_json_text(run.config)}}}'


def write_config(folder: RunFolder, text: str) -> None:
    """Write config.json from what ``config_text`` returned, unless it says so already."""
    document = as_json(json.loads(text))
    if not folder.config_file.is_file() or folder.config_file.read_bytes() != document.encode():
        write_text(folder.config_file, document)


def clear_failure(folder: RunFolder) -> None:
    """Clear an earlier failure, so that it is not taken for one of the start that follows."""
    status = folder.status()
    if status.get("state") == "failed":
        write_json(folder.status_file, {**status, "state": "starting", "error": None, "updated": time.time()})


def record_failure(folder: RunFolder, reason: str) -> None:
    """Write into status.json that the run failed, for a process that could not write it itself."""
    write_json(folder.status_file, {**folder.status(), "state": "failed", "error": reason, "updated": time.time()})
