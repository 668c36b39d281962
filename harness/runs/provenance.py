"""Record what a result rests on: versions, host, commit, data and runtime."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from datasets.files import write_json
from harness.runs.folder import RunFolder

PACKAGES = ("cxr-harness", "torch", "torchvision", "ffcv", "accelerate", "numba", "numpy", "scikit-learn")
SLURM_VARIABLES = (
    *("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"),
    *("SLURM_CLUSTER_NAME", "SLURM_JOB_PARTITION", "SLURM_JOB_NODELIST", "SLURM_NTASKS"),
)
ROOT = Path(__file__).resolve().parents[2]


def write_provenance(folder: RunFolder, facts: Mapping[str, Any]) -> None:
    """Write provenance.json: ``facts`` of the run and the environment of this start; earlier starts are kept."""
    start = environment()
    earlier: list[Any] = []
    before = folder.provenance()
    if before:
        earlier = [*before.pop("earlier_starts"), {key: before.get(key) for key in (*start, "devices", "precision")}]
    write_json(folder.provenance_file, {**facts, **start, "earlier_starts": earlier})


def environment() -> dict[str, Any]:
    """Versions, Python, host, SLURM ids and, in a git checkout, the commit and whether it was changed."""
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "git": git_state(ROOT),
        "slurm": slurm_ids(os.environ),
        "started": time.time(),
    }


def slurm_ids(variables: Mapping[str, str]) -> dict[str, str] | None:
    """Job, array, restart count, partition and nodes by SLURM's names for them; None outside of SLURM."""
    if "SLURM_JOB_ID" not in variables:
        return None
    return {name: variables[name] for name in SLURM_VARIABLES if name in variables}


def git_state(root: Path) -> dict[str, Any] | None:
    """``{"commit", "dirty"}`` of the checkout at ``root``; None when it is none or git is not installed."""
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None else {"commit": commit, "dirty": changes != ""}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
