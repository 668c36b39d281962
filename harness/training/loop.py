"""The training loop.

The loop knows no method, no file and no schedule rule: an objective makes the loss, ``TrainingCallbacks`` write what
they are given and say when to stop, and ``harness.config.schedule`` decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from datasets.loading.batch import Batch, Loader
from datasets.loading.prefetch import DevicePrefetcher
from harness.config import Schedule
from harness.config.schedule import (
    Validated,
    decides_by_history,
    learning_rate,
    step_factor,
    stops_early,
    validation_due,
)
from harness.devices.accelerator import Accelerator, set_torch_threads
from harness.evaluation.forward import Forward
from harness.evaluation.inference import Predictions, predict, same_statistics
from harness.evaluation.metrics import Scores, score
from harness.networks import Network
from harness.objectives import Losses, Objective
from harness.runs.runtime import RuntimeConfig
from harness.runs.train_state import PartialEpoch, TrainState
from harness.training.epoch_meter import EpochMeter, means
from harness.training.guards import FiniteLosses
from harness.training.monitor import ProgressMonitor, peak_memory
from harness.training.optimizer import OptimizerStep, StepPlan, follow
from harness.training.signals import Interrupted, StopControl
from harness.training.step import ForwardBackward
from harness.training.targets import BatchPreparation


@dataclass(frozen=True, kw_only=True)
class TrainingComponents:
    """Network, optimiser, objective and loaders of one run, on their device."""

    accelerator: Accelerator
    network: Network
    """The plain module: evaluated and saved."""
    wrapped: nn.Module
    """The same, prepared by Accelerate: training steps call it, so that gradients are averaged over processes."""
    forward_backward: ForwardBackward
    """Runs ``wrapped`` and ``objective`` on a batch, forward and backward."""
    optimizer: Any
    """The schedule's, over the trainable parameters, prepared by Accelerate."""
    objective: Objective
    schedule: Schedule
    train_loader: Loader
    validation_loader: Loader
    validation_indices: np.ndarray
    labels: tuple[str, ...]
    runtime: RuntimeConfig
    validation_forward: Forward | None = None
    """Runs ``evaluated`` on a batch of validation, where that is not the network itself."""
    averaged: AveragedModel | None = None
    """The moving average of the network's weights, if there is to be one."""
    prepare: BatchPreparation = field(default_factory=BatchPreparation)
    """Makes a step's inputs and targets of a batch."""

    @property
    def evaluated(self) -> Network:
        """The weights that are validated and kept: the averaged ones, if there are any."""
        network: Any = self.network if self.averaged is None else self.averaged.module
        return network  # type: ignore[no-any-return]


EpochEnd = tuple[TrainState, dict[str, Any]]
"""The state after an epoch and the epoch's line of metrics.jsonl."""


@dataclass(frozen=True, kw_only=True)
class TrainingCallbacks:
    """Functions that the training loop calls, and the control that stops it."""

    epoch_done: Callable[[Callable[[], EpochEnd]], Future[TrainState]]
    """Score an epoch by calling what it is given, then write its record and checkpoint of the weights of this moment,
    perhaps while training goes on; a process killed meanwhile runs that epoch again. Not a collective call."""
    save: Callable[[TrainState], None]
    """Writes a checkpoint in the middle of an epoch; not a collective call."""
    control: StopControl
    watch: ProgressMonitor
    step_done: Callable[[], None] = lambda: None
    """Called after every step, for the profiler."""


def fit(components: TrainingComponents, state: TrainState, callbacks: TrainingCallbacks) -> TrainState:
    """Train from ``state`` to the schedule's end; return the final state, whose history holds every validation.

    Raises:
        Interrupted: when a signal asked for it; a checkpoint of the last step is written.
        FloatingPointError: when a loss is not finite; no checkpoint since the last good one is written.
    """
    schedule = components.schedule
    ending: Future[TrainState] | None = None
    for epoch in range(state.epoch, schedule.last_epoch):
        if ending is not None and (ending.done() or decides_by_history(schedule)):
            state = ending.result()
        if stops_early(schedule, state.history):
            break
        elapsed_s = _clock(state.seconds)
        rate = learning_rate(schedule, epoch, state.history)
        measured = train_epoch(components, state, rate, callbacks, elapsed_s)
        try:
            predictions = validate(components) if validation_due(schedule, epoch) else None
        except KeyboardInterrupt:
            callbacks.save(replace(state, partial=measured, seconds=elapsed_s()))
            raise
        state = _advanced(state, measured, elapsed_s())
        num_steps = measured.steps + measured.skipped
        last_rate = rate * step_factor(schedule, epoch, num_steps - 1, num_steps)
        end = partial(_end_of_epoch, components.labels, state, ending, measured, last_rate, predictions)
        ending = callbacks.epoch_done(end)
    return state if ending is None else ending.result()


def train_epoch(
    components: TrainingComponents,
    state: TrainState,
    rate: float,
    callbacks: TrainingCallbacks,
    elapsed_s: Callable[[], float],
) -> PartialEpoch:
    """Train the rest of the current epoch at its learning rate ``rate``; return what the whole epoch has measured.

    ``elapsed_s`` tells the seconds of the whole run so far, which a checkpoint keeps.
    """
    accelerator, optimizer, control = components.accelerator, components.optimizer, callbacks.control
    schedule = components.schedule
    components.wrapped.train()
    meter = EpochMeter(accelerator, components.labels, state.partial, accumulate=schedule.accumulate)
    losses_guard = FiniteLosses(accelerator, epoch=state.epoch)
    take_step = OptimizerStep(accelerator, optimizer, components.network, schedule.clip_value, components.runtime)
    plan = StepPlan(sizes=components.train_loader.plan.sizes, accumulate=schedule.accumulate)
    parts: list[tuple[Batch, Tensor, Losses]] = []

    def checkpoint() -> PartialEpoch:
        losses_guard.check()
        partial = meter.snapshot()
        callbacks.save(replace(state, partial=partial, seconds=elapsed_s()))
        if control.stop is not None:
            accelerator.wait_for_everyone()  # the checkpoint is whole before any process ends
            raise Interrupted(control.stop)
        return partial

    with control.signals.deferred(), _batches(components, state.epoch, meter.batches) as batches:
        set_torch_threads(components.runtime)
        for number, batch in enumerate(meter.timed(batches), meter.batches):
            inputs, targets = components.prepare(batch, state.epoch)
            logits, losses = components.forward_backward(inputs, targets, batch.global_size)
            parts.append((batch.host, logits, losses))
            if plan.accumulate > 1:
                take_step.add(plan.share(number))
            if not plan.ends_step(number):
                continue
            for group in optimizer.param_groups:
                group["lr"] = rate * step_factor(schedule, state.epoch, number // plan.accumulate, plan.num_steps)
            left_out = take_step()
            kept = not (take_step.skips and left_out)
            if components.averaged is not None:
                follow(components.averaged, components.network, left_out)
            _count_step(parts, meter, losses_guard, left_out=left_out, kept=kept)
            callbacks.step_done()
            images = sum(host.global_size for host, *_ in parts)
            callbacks.watch.step(images, state, waiting=meter.data_wait_s / max(meter.seconds, 1e-9))
            parts.clear()
            if control.due():
                checkpoint()
        if control.settle():
            return checkpoint()
        losses_guard.check()
        return meter.snapshot()


def _count_step(
    parts: list[tuple[Batch, Tensor, Losses]],
    meter: EpochMeter,
    losses_guard: FiniteLosses,
    *,
    left_out: bool | Tensor,
    kept: bool,
) -> None:
    """Count an optimiser step, which was made or ``left_out``, and its batches, whose numbers are ``kept`` or not."""
    meter.count_step(left_out)
    for host, logits, losses in parts:
        if kept:
            losses_guard.watch(meter.batches, host, losses.total)
            meter.add(host, logits, losses)
        else:
            meter.leave_out(host)


def _batches(components: TrainingComponents, epoch: int, start_step: int) -> Any:
    """The epoch's batches from ``start_step`` on; none when all steps were done before the run was stopped."""
    prefetcher = DevicePrefetcher(components.train_loader, components.accelerator.device)
    return prefetcher.epoch(epoch, start_step) if start_step < len(prefetcher) else nullcontext(())


def validate(components: TrainingComponents) -> Predictions:
    """Predict the validation split with the weights of this moment; a collective call."""
    if components.averaged is not None:  # predict shares the statistics of the averaged network alone
        same_statistics(components.network, components.accelerator)
    return predict(
        components.accelerator,
        components.evaluated,
        components.validation_loader,
        components.validation_indices,
        components.runtime,
        forward=components.validation_forward,
    )


def _clock(before_s: float) -> Callable[[], float]:
    """Return a function that gives ``before_s`` plus the seconds since this call."""
    zero = time.perf_counter() - before_s
    return lambda: time.perf_counter() - zero


def _advanced(state: TrainState, epoch: PartialEpoch, seconds: float) -> TrainState:
    """The state after an epoch but for its validation."""
    return replace(
        state,
        epoch=state.epoch + 1,
        step=state.step + epoch.steps,
        skipped=state.skipped + epoch.skipped,
        images=state.images + epoch.images,
        train_seconds=state.train_seconds + epoch.seconds,
        seconds=seconds,
        partial=None,
    )


def _end_of_epoch(
    labels: tuple[str, ...],
    state: TrainState,
    before: Future[TrainState] | None,
    epoch: PartialEpoch,
    rate: float,
    predictions: Predictions | None,
) -> EpochEnd:
    """Score an epoch, whose validation is added to those of the epochs up to ``before``."""
    train = means(epoch, labels)
    history = state.history if before is None else before.result().history
    if predictions is None:
        scores = None
    else:
        scores = score(predictions.logits, predictions.targets, labels)
        made = Validated(epoch=state.epoch - 1, loss=scores.cross_entropy, mean_auroc=scores.mean_auroc)
        history = (*history, made)
    state = replace(state, history=history)
    return state, _record(state, epoch, rate, train, scores)


def _record(
    state: TrainState, epoch: PartialEpoch, rate: float, train: dict[str, float | None], scores: Scores | None
) -> dict[str, Any]:
    """One line of metrics.jsonl."""
    return {
        "epoch": state.epoch - 1,
        "step": state.step,
        "learning_rate": rate,
        "train": train,
        "validation": None if scores is None else scores.to_dict(),
        "skipped_steps": epoch.skipped,
        "images_per_s": epoch.images / epoch.seconds,
        "data_wait_s": epoch.data_wait_s,
        "compute_s": epoch.seconds - epoch.data_wait_s,
        "elapsed_s": state.seconds,
        **peak_memory(),
    }
