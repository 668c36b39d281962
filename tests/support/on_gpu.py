"""Whole runs on a GPU, and what makes two of them the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerator_state import forget_accelerator
from tiny_runs import hash_of, tiny_runtime, without_times

from harness.config import RunConfig
from harness.runs.folder import RunFolder
from harness.training.run import train_run

DEVICE = "cuda"


def trained(config: RunConfig, beton: Path, runs_dir: Path, **runtime: Any) -> RunFolder:
    """Train on the GPU, without what an earlier run of this process has left in Accelerate."""
    forget_accelerator()
    settings = tiny_runtime(beton, runs_dir, **{"device": DEVICE, "precision": "bf16", **runtime})
    train_run(config, settings)
    return settings.folder_of(config)


def assert_same(ours: RunFolder, theirs: RunFolder) -> None:
    """The best weights, every epoch's numbers and all predictions; ``cxr train`` keeps no last checkpoint."""
    assert hash_of(ours.best_dir) == hash_of(theirs.best_dir)
    assert without_times(ours) == without_times(theirs)
    assert ours.predictions_file.read_bytes() == theirs.predictions_file.read_bytes()
