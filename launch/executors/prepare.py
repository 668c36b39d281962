"""What an executor writes into a run's folder: a run comes in; its config.json, or why it failed, goes out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from datasets.files import read_json, write_json
from harness.config import SCHEMA_VERSION, to_dict
from harness.runs.folder import RunFolder
from launch.grids.grid import GridRun


def prepare_folder(run: GridRun, runs_dir: Path) -> RunFolder:
    """Write the run's config, and take back an earlier failure, which must not be taken for one of this attempt."""
    folder = RunFolder(runs_dir / run.run_id)
    document = {
        "schema": SCHEMA_VERSION,
        "run_id": run.run_id,
        "name": run.config.name,
        "config": to_dict(run.config),
    }
    write_json(folder.config_file, document)
    if _status(folder).get("state") == "failed":
        _update_status(folder, state="starting", error=None)
    return folder


def record_failure(folder: RunFolder, reason: str) -> None:
    """Say in status.json that the run failed, for a process that could not say so itself."""
    _update_status(folder, state="failed", error=reason)


def _status(folder: RunFolder) -> dict[str, Any]:
    status: dict[str, Any] = read_json(folder.status_file) if folder.status_file.exists() else {}
    return status


def _update_status(folder: RunFolder, *, state: str, error: str | None) -> None:
    write_json(folder.status_file, {**_status(folder), "state": state, "error": error, "updated": time.time()})
