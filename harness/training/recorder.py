"""Write checkpoints, metrics and status while a run trains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from datasets.files import disk_full_as_input_error
from harness.config.schedule import best_of
from harness.runs.checkpoint import Learner, load_last, save_best, save_last
from harness.runs.metrics_log import MetricsLog
from harness.runs.status import Status
from harness.runs.train_state import TrainState
from harness.training.build import Run
from harness.training.loop import TrainingComponents


@dataclass(frozen=True, kw_only=True)
class CheckpointRecorder:
    """Writes the files of a run under way; of a process that does not own them it writes none."""

    run: Run
    learner: Learner
    journal: MetricsLog
    status: Status

    def epoch_done(self, position: TrainState, record: dict[str, Any]) -> None:
        """A line of metrics, the last checkpoint, the best one if it is, the status.

        Raises:
            InputError: when the disk is full; the checkpoints before stay.
        """
        with disk_full_as_input_error(self.run.folder.path, "the last good checkpoint is kept"):
            self.journal.append(record)
            self.save(position)
            if self.run.owner:
                keep_best(self.run, position)
            self.status.epoch = position.epoch
            self.status.mean_auroc = position.history[-1].mean_auroc if position.history else None
            self.status.images_per_s = record["images_per_s"]
            self.status.write("running")

    def save(self, position: TrainState) -> None:
        """The checkpoint from which the run goes on, wherever in an epoch it is."""
        if self.run.owner:
            save_last(self.run.folder.last_dir, self.learner, position, self.run.metadata)


def make_learner(run: Run, components: TrainingComponents) -> Learner:
    """What a checkpoint of the run holds."""
    return Learner(
        network=components.network,
        optimizer=components.optimizer.optimizer,
        scaler=run.accelerator.scaler,
        beside=components.objective.module,
    )


def keep_best(run: Run, position: TrainState) -> None:
    """Copy the last checkpoint's weights to the best ones, when its epoch has just ended and is the best so far."""
    best = best_of(run.config.schedule, position.history)
    if position.partial is None and best is not None and best.epoch == position.epoch - 1:
        save_best(run.folder.best_dir, run.folder.last_dir, best)


def restore(run: Run, learner: Learner) -> TrainState:
    """The position of the last usable checkpoint, its content loaded; a new run's position when there is none."""
    found = load_last(run.folder.last_dir, learner, run.metadata)
    if found is None:
        return TrainState()
    if run.owner:  # a process killed between the two checkpoints left the older best one
        keep_best(run, found)
    return replace(found, restarts=found.restarts + 1)
