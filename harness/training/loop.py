"""The training loop.

The loop knows no method, no file and no schedule rule: an objective makes the loss, ``TrainingCallbacks`` write what
they are given and say when to stop, and ``harness.config.schedule`` decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from datasets.loading.batch import Loader
from datasets.loading.prefetch import DevicePrefetcher
from harness.config import Schedule
from harness.config.schedule import Validated, learning_rate, stops_early, validation_due
from harness.devices.accelerator import Accelerator, set_torch_threads
from harness.evaluation.inference import predict
from harness.evaluation.metrics import Scores, score
from harness.networks import Network
from harness.objectives import Objective
from harness.runs.runtime import RuntimeConfig
from harness.runs.train_state import PartialEpoch, TrainState
from harness.training.epoch_meter import EpochMeter, TrainedEpoch, summary
from harness.training.guards import FiniteLosses
from harness.training.monitor import ProgressMonitor, peak_memory
from harness.training.optimizer import OptimizerStep
from harness.training.signals import Interrupted, StopControl
from harness.training.step import ForwardBackward


@dataclass(frozen=True, kw_only=True)
class TrainingComponents:
    """What the loop works with."""

    accelerator: Accelerator
    network: Network
    """The plain module: evaluated and saved."""
    wrapped: nn.Module
    """The same, prepared by Accelerate: training steps call it, so that gradients are averaged over processes."""
    forward_backward: ForwardBackward
    """Runs ``wrapped`` and ``objective`` on a batch, forward and backward."""
    optimizer: Any
    """Adam over the trainable parameters, prepared by Accelerate."""
    objective: Objective
    schedule: Schedule
    train_loader: Loader
    validation_loader: Loader
    validation_indices: np.ndarray
    labels: tuple[str, ...]
    runtime: RuntimeConfig


@dataclass(frozen=True, kw_only=True)
class TrainingCallbacks:
    """What the loop talks to."""

    epoch_done: Callable[[TrainState, dict[str, Any]], None]
    """Keeps an epoch's outcome and its record; a process killed inside it runs that epoch again."""
    save: Callable[[TrainState], None]
    """Writes a checkpoint in the middle of an epoch; not a collective call."""
    control: StopControl
    watch: ProgressMonitor
    step_done: Callable[[], None] = lambda: None
    """Told of every step; the profiler listens."""


def fit(components: TrainingComponents, position: TrainState, callbacks: TrainingCallbacks) -> TrainState:
    """Train from ``position`` to the schedule's end.

    Args:
        components: what to train, and with what.
        position: where the run stands; a new run's is ``TrainState()``.
        callbacks: keeps what it is given, and says when to stop.

    Returns:
        The last position; its history holds every validation.

    Raises:
        Interrupted: when a signal asked for it; a checkpoint of the last step is written.
        FloatingPointError: when a loss is not finite; no checkpoint since the last good one is written.
    """
    schedule = components.schedule
    for epoch in range(position.epoch, schedule.epochs):
        if stops_early(schedule, position.history):
            break
        elapsed_s = _clock(position.seconds)
        rate = learning_rate(schedule, epoch, position.history)
        partial = train_epoch(components, position, rate, callbacks, elapsed_s)
        trained = summary(partial, components.labels)
        try:
            scores = validate(components) if validation_due(schedule, epoch) else None
        except KeyboardInterrupt:
            callbacks.save(replace(position, partial=partial, seconds=elapsed_s()))
            raise
        position = _moved(position, trained, scores, elapsed_s())
        callbacks.epoch_done(position, _record(position, rate, trained, scores))
    return position


def train_epoch(
    components: TrainingComponents,
    position: TrainState,
    rate: float,
    callbacks: TrainingCallbacks,
    elapsed_s: Callable[[], float],
) -> PartialEpoch:
    """The rest of the epoch under way, at learning rate ``rate``; what the whole epoch has measured.

    ``elapsed_s`` tells the seconds of the whole run so far, which a checkpoint keeps.
    """
    accelerator, optimizer, control = components.accelerator, components.optimizer, callbacks.control
    for group in optimizer.param_groups:
        group["lr"] = rate
    components.wrapped.train()
    meter = EpochMeter(accelerator, components.labels, position.partial)
    losses_guard = FiniteLosses(accelerator, epoch=position.epoch)
    take_step = OptimizerStep(
        accelerator, optimizer, components.network, components.schedule.clip_value, components.runtime
    )
    auroc = position.history[-1].mean_auroc if position.history else None

    def checkpoint() -> PartialEpoch:
        losses_guard.check()
        partial = meter.snapshot()
        callbacks.save(replace(position, partial=partial, seconds=elapsed_s()))
        if control.stop is not None:
            accelerator.wait_for_everyone()  # the checkpoint is whole before any process ends
            raise Interrupted(control.stop)
        return partial

    with control.signals.deferred(), _batches(components, position.epoch, meter.batches) as batches:
        set_torch_threads(components.runtime)
        for batch in meter.timed(batches):
            logits, losses = components.forward_backward(batch.inputs, batch.targets, batch.global_size)
            stepped = take_step()
            if take_step.skips and not stepped:
                meter.leave_out(batch.host)
            else:
                losses_guard.watch(meter.batches, batch.host, losses.total)
                meter.add(batch.host, logits, losses, stepped=stepped)
            callbacks.step_done()
            callbacks.watch.step(
                batch.global_size,
                epoch=position.epoch,
                waited_s=meter.data_wait_s,
                seconds=meter.seconds,
                mean_auroc=auroc,
            )
            if control.due():
                checkpoint()
        if control.settle():
            return checkpoint()
        losses_guard.check()
        return meter.snapshot()


def _batches(components: TrainingComponents, epoch: int, start_step: int) -> Any:
    """The epoch's batches from ``start_step`` on; none when all steps were done before the run was stopped."""
    prefetcher = DevicePrefetcher(components.train_loader, components.accelerator.device)
    return prefetcher.epoch(epoch, start_step) if start_step < len(prefetcher) else nullcontext(())


def validate(components: TrainingComponents) -> Scores:
    """Score the validation split with the weights of this moment."""
    predictions = predict(
        components.accelerator,
        components.network,
        components.validation_loader,
        components.validation_indices,
        components.runtime,
    )
    return score(predictions.logits, predictions.targets, components.labels)


def _clock(before_s: float) -> Callable[[], float]:
    """A function that tells ``before_s`` plus the seconds since now."""
    zero = time.perf_counter() - before_s
    return lambda: time.perf_counter() - zero


def _moved(position: TrainState, trained: TrainedEpoch, scores: Scores | None, seconds: float) -> TrainState:
    history = position.history
    if scores is not None:
        made = Validated(epoch=position.epoch, loss=scores.cross_entropy, mean_auroc=scores.mean_auroc)
        history = (*history, made)
    return replace(
        position,
        epoch=position.epoch + 1,
        step=position.step + trained.steps,
        skipped=position.skipped + trained.skipped,
        images=position.images + trained.images,
        train_seconds=position.train_seconds + trained.seconds,
        seconds=seconds,
        history=history,
        partial=None,
    )


def _record(position: TrainState, rate: float, trained: TrainedEpoch, scores: Scores | None) -> dict[str, Any]:
    """One line of metrics.jsonl."""
    return {
        "epoch": position.epoch - 1,
        "step": position.step,
        "learning_rate": rate,
        "train": trained.losses(),
        "validation": None if scores is None else scores.to_dict(),
        "skipped_steps": trained.skipped,
        "images_per_s": trained.images / trained.seconds,
        "data_wait_s": trained.data_wait_s,
        "compute_s": trained.seconds - trained.data_wait_s,
        "elapsed_s": position.seconds,
        **peak_memory(),
    }
