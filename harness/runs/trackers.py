"""Open trackers of experiments by name, through Accelerate; a run that is taken up again goes on with its curve."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from datasets.errors import InputError
from datasets.files import read_json_object, write_json

TrackerName = Literal["wandb", "mlflow", "trackio"]
PROJECT = "cxr-harness"
"""Project or experiment of all runs, unless the tracker's own environment variable names another."""
IDS_NAME = "trackers.json"
"""File of a run's folder that keeps the ids which trackers gave it."""


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Raise InputError for a tracker whose package is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            extra = " ('cxr-harness[trackers]' brings it)" if name == "wandb" else ""
            raise InputError(f"trackers: {name}: its package is not installed{extra}; pip install {name}")


def open_tensorboard(folder: Path, first_step: int | None) -> Any:
    """Event files in ``folder``/tensorboard; what lies at ``first_step`` or behind it is cut off."""
    from accelerate.tracking import TensorBoardTracker  # type: ignore[import-untyped]

    tracker = TensorBoardTracker("tensorboard", folder, purge_step=first_step)
    tracker.start()
    return tracker


def open_tracker(name: TrackerName, folder: Path, run_id: str) -> Any:
    """A started tracker that goes on with the run of this id, if it knows it.

    Weights & Biases writes into ``folder`` and stays offline unless WANDB_MODE says otherwise.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    if name == "wandb":
        tracker = kind(
            os.environ.get("WANDB_PROJECT", PROJECT),
            id=run_id,
            name=run_id,
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
            dir=str(folder),
            settings={"silent": True, "console": "off"},
        )
        tracker.start()
    elif name == "trackio":
        tracker = kind(os.environ.get("TRACKIO_PROJECT", PROJECT), name=run_id, resume="allow")
        tracker.start()
    else:  # MLflow gives ids of its own
        file = folder / IDS_NAME
        known = read_json_object(file).get(name) if file.exists() else None
        tracker = kind(PROJECT, run_id=known, run_name=run_id)
        tracker.start()
        write_json(file, {name: tracker.active_run.info.run_id})
    return tracker
