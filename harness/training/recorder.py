"""Write checkpoints, metrics and status while a run trains."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from datasets.errors import InputError
from datasets.files import disk_full_as_input_error
from harness.config.schedule import best_of
from harness.runs.checkpoint import Learner, load_last, save_best, save_last
from harness.runs.metrics_log import MetricsLog
from harness.runs.status import Status
from harness.runs.train_state import TrainState
from harness.training.build import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CheckpointRecorder:
    """Write checkpoints, metrics and status of a running run; a process that is not the owner writes nothing."""

    run: Run
    learner: Learner
    metrics: MetricsLog
    status: Status

    def epoch_done(self, state: TrainState, record: dict[str, Any]) -> None:
        """Write a line of metrics, the last checkpoint, the best one if this epoch is the best, and the status.

        Raises:
            InputError: when the disk is full; the checkpoints before stay.
        """
        with disk_full_as_input_error(self.run.folder.path, "the last good checkpoint is kept"):
            self.metrics.append(record)
            self.save(state)
            if self.run.owner:
                keep_best(self.run, state)
            self.status.epoch = state.epoch
            self.status.mean_auroc = state.history[-1].mean_auroc if state.history else None
            self.status.images_per_s = record["images_per_s"]
            self.status.write("running")

    def save(self, state: TrainState) -> None:
        """Write the checkpoint from which the run resumes, between or inside epochs."""
        if self.run.owner:
            save_last(self.run.folder.last_dir, self.learner, state, self.run.metadata)


def keep_best(run: Run, state: TrainState) -> None:
    """Copy the last checkpoint's weights to the best ones, when its epoch has just ended and is the best so far."""
    best = best_of(run.config.schedule, state.history)
    if state.partial is None and best is not None and best.epoch == state.epoch - 1:
        save_best(run.folder.best_dir, run.folder.last_dir, best)


def restore(run: Run, learner: Learner) -> TrainState:
    """Load the last usable checkpoint and return its state; a new state when there is none.

    Raises:
        InputError: when there are more or fewer processes than before, and nobody said that this is meant.
    """
    now = run.accelerator.num_processes
    found = load_last(run.folder.last_dir, learner, run.metadata)
    if found is None:
        return TrainState(processes=((0, now),))
    if found.processes and found.processes[-1][1] != now:
        before = found.processes[-1][1]
        if not run.runtime.change_num_processes:
            raise InputError(
                f"{run.folder.path}: trained by {before} processes so far, now by {now}, which gives other numbers; "
                f"use --num-processes {before}, or --change-num-processes to go on all the same"
            )
        logger.warning(f"{run.folder.path}: goes on with {now} processes after {before}; provenance.json says so")
        step = found.step + (0 if found.partial is None else found.partial.steps)
        found = replace(found, processes=(*found.processes, (step, now)))
    if run.owner:  # a process killed between the two checkpoints left the older best one
        keep_best(run, found)
    return replace(found, restarts=found.restarts + 1)
