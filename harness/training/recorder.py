"""Write checkpoints, metrics and status while a run trains."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch

from datasets.errors import InputError
from datasets.files import disk_full_as_input_error, write_text
from harness.config.schedule import best_of
from harness.runs.checkpoint import Contents, Learner, copy_best, load_last, save_best, save_last
from harness.runs.metrics_log import MetricsLog
from harness.runs.status import Status
from harness.runs.train_state import TrainState
from harness.training.build import Run
from harness.training.loop import EpochEnd

logger = logging.getLogger(__name__)


class CheckpointRecorder:
    """Write checkpoints, metrics and status of a running run; a process that is not the owner writes nothing.

    In the ``background`` an epoch is scored and written by a thread, from a copy of what training goes on to change;
    the one before it must be whole by then. Use it in a ``with`` block, whose end waits for the thread.
    """

    def __init__(
        self, *, run: Run, learner: Learner, metrics: MetricsLog, status: Status, background: bool = False
    ) -> None:
        self.run = run
        self.learner = learner
        self.metrics = metrics
        self.status = status
        self._thread = ThreadPoolExecutor(1, "recorder") if background else None
        self._stream = torch.cuda.Stream() if background and torch.cuda.is_available() else None  # type: ignore[no-untyped-call]
        self._ending: Future[TrainState] | None = None

    def __enter__(self) -> CheckpointRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.shutdown()

    def epoch_done(self, end: Callable[[], EpochEnd]) -> Future[TrainState]:
        """Write a line of metrics, the last checkpoint, the best one if this epoch is the best, and the status.

        Raises:
            InputError: when the disk is full, now or at the epoch before; the checkpoints before stay.
        """
        self._last()
        contents = self.learner.contents() if self.run.owner else None
        if self._thread is None:
            self._ending = Future()
            self._ending.set_result(self._finish(end, contents))
        else:
            copied = copy.deepcopy(contents)
            if self._stream is not None:
                self._stream.wait_stream(torch.cuda.current_stream())
            self._ending = self._thread.submit(self._finish, end, copied)
        return self._ending

    def _finish(self, end: Callable[[], EpochEnd], contents: Contents | None) -> TrainState:
        """Score and write an epoch; on a GPU beside the stream of the training steps."""
        folder, kept = self.run.folder, "the last good checkpoint is kept"
        with torch.cuda.stream(self._stream), disk_full_as_input_error(folder.path, kept):
            state, record = end()
            self.metrics.append(record)
            if contents is not None:
                save_last(folder.last_dir, contents, state, self.run.metadata)
                keep_best(self.run, state)
            self.status.epoch = state.epoch
            self.status.mean_auroc = state.history[-1].mean_auroc if state.history else None
            self.status.images_per_s = record["images_per_s"]
            self.status.write("running")
        return state

    def save(self, state: TrainState) -> None:
        """Write the checkpoint of a state inside an epoch, which may lack the last validation."""
        last = self._last()
        if self.run.owner:
            whole = state if last is None else replace(state, history=last.history)
            save_last(self.run.folder.last_dir, self.learner.contents(), whole, self.run.metadata)

    def _last(self) -> TrainState | None:
        """The state after the last epoch, once that is written; None before the first."""
        return None if self._ending is None else self._ending.result()


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
    restarts = 0 if found is None else found.restarts + 1
    found = found or take_over(run, learner)
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
    return replace(found, restarts=restarts)


def take_over(run: Run, learner: Learner) -> TrainState | None:
    """Load what the rung before has left of the run that this one goes on with; None where it goes on with none.

    Its records, best weights and checkpoint become this run's, the checkpoint last: whoever is killed before that
    takes over again. Time is counted anew. A collective call.

    Raises:
        InputError: when the checkpoint is gone.
    """
    source = run.source
    if source is None:
        return None
    state = load_last(source.folder.last_dir, learner, {**run.metadata, "run_id": source.config.run_id})
    if state is None:
        raise InputError(
            f"{source.folder.last_dir}: no checkpoint, from which this run of a beta search goes on; remove "
            f"{source.folder.path} and submit again, which trains that one anew"
        )
    state = replace(state, seconds=0.0, restarts=0)
    run.accelerator.wait_for_everyone()  # no process may find the new checkpoint before all have loaded the old one
    if run.owner:
        here, there = run.folder, source.folder
        for ours, theirs in ((here.metrics_file, there.metrics_file), (here.steps_file, there.steps_file)):
            if theirs.exists():
                write_text(ours, theirs.read_text(encoding="utf-8"))
        copy_best(there.best_dir, here.best_dir, run.metadata)
        save_last(here.last_dir, learner.contents(), state, run.metadata)
    return state
