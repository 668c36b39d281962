"""The training loop: network, objective, optimiser and loaders come in; trained weights and epoch records go out.

The loop knows no method, no file and no schedule rule: an objective makes the loss, ``keep`` keeps what it is given,
and ``harness.schedule`` decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from datasets.labels import IGNORED
from datasets.loader import BetonLoader
from datasets.network_input import to_network_input
from datasets.progress import Advance
from harness.checkpoint import Position
from harness.config import Schedule
from harness.devices import Accelerator, set_torch_threads
from harness.meter import Meter, TrainedEpoch
from harness.metrics import Scores, score
from harness.networks import Network
from harness.objectives import Losses, Objective
from harness.runtime import RuntimeConfig
from harness.schedule import Validated, learning_rate, stops_early, validation_due
from harness.validate import predict

Keep = Callable[[Position, dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the loop works with."""

    accelerator: Accelerator
    network: Network
    """The plain module: evaluated and saved."""
    wrapped: nn.Module
    """The same, prepared by Accelerate: training steps call it, so that gradients are averaged over processes."""
    optimizer: Any
    """Adam over the trainable parameters, prepared by Accelerate."""
    objective: Objective
    schedule: Schedule
    train_loader: BetonLoader
    validation_loader: BetonLoader
    validation_indices: np.ndarray
    labels: tuple[str, ...]
    runtime: RuntimeConfig


def fit(parts: Parts, position: Position, keep: Keep, advance: Advance) -> Position:
    """Train from ``position`` to the schedule's end; ``keep(position, record)`` is called after every epoch.

    Args:
        parts: what to train, and with what.
        position: where the run stands; a new run's is ``Position()``.
        keep: keeps an epoch's outcome; a process killed inside it runs that epoch again.
        advance: told of every step's images, with the last validation AUROC.

    Returns:
        The last position; its history holds every validation.
    """
    schedule = parts.schedule
    for epoch in range(position.epoch, schedule.epochs):
        if stops_early(schedule, position.history):
            break
        started = time.perf_counter()
        rate = learning_rate(schedule, epoch, position.history)
        trained = train_epoch(parts, epoch, rate, partial(advance, note=_note(position)))
        scores = validate(parts) if validation_due(schedule, epoch) else None
        position = _moved(position, trained, scores, time.perf_counter() - started)
        keep(position, _record(position, rate, trained, scores))
    return position


def train_epoch(parts: Parts, epoch: int, rate: float, advance: Advance) -> TrainedEpoch:
    """One pass over the training images at learning rate ``rate``; ``advance`` is told of every step's images."""
    accelerator, optimizer = parts.accelerator, parts.optimizer
    for group in optimizer.param_groups:
        group["lr"] = rate
    parts.wrapped.train()
    meter = Meter(accelerator, parts.labels)
    with parts.train_loader.epoch(epoch) as batches:
        set_torch_threads(parts.runtime)
        for batch in meter.timed(batches):
            inputs = to_network_input(batch.images.to(accelerator.device, non_blocking=True))
            targets = batch.targets.to(accelerator.device, non_blocking=True)
            with accelerator.autocast():
                output = parts.wrapped(inputs)
                losses = parts.objective(output, inputs, targets)
            accelerator.backward(share_of_global_mean(accelerator, losses, targets, batch.global_size))
            if parts.schedule.clip_value is not None:
                trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
                accelerator.clip_grad_value_(trained, parts.schedule.clip_value)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            meter.add(batch, output.logits, losses)
            advance(batch.global_size)
        return meter.result()


def validate(parts: Parts) -> Scores:
    """Score the validation split with the weights of this moment."""
    predictions = predict(
        parts.accelerator, parts.network, parts.validation_loader, parts.validation_indices, parts.runtime
    )
    return score(predictions.logits, predictions.targets, parts.labels)


def share_of_global_mean(accelerator: Accelerator, losses: Losses, targets: Tensor, global_size: int) -> Tensor:
    """This process's loss, scaled so that the mean over processes is the loss of the whole global batch.

    Processes may hold unequal numbers of images, over which the attention loss is a mean, and of known targets, over
    which the cross-entropy is one.
    """
    if accelerator.num_processes == 1:
        return losses.total
    of_images = len(targets) * accelerator.num_processes / global_size
    known = (targets != IGNORED).sum()
    of_targets = known * accelerator.num_processes / accelerator.reduce(known, "sum").clamp_min(1)
    share: Tensor = losses.total * of_images + losses.cross_entropy * (of_targets - of_images)
    return share


def _moved(position: Position, trained: TrainedEpoch, scores: Scores | None, seconds: float) -> Position:
    history = position.history
    if scores is not None:
        made = Validated(epoch=position.epoch, loss=scores.cross_entropy, mean_auroc=scores.mean_auroc)
        history = (*history, made)
    return replace(
        position,
        epoch=position.epoch + 1,
        step=position.step + trained.steps,
        images=position.images + trained.images,
        train_seconds=position.train_seconds + trained.seconds,
        seconds=position.seconds + seconds,
        history=history,
    )


def _record(position: Position, rate: float, trained: TrainedEpoch, scores: Scores | None) -> dict[str, Any]:
    """One line of metrics.jsonl."""
    return {
        "epoch": position.epoch - 1,
        "step": position.step,
        "learning_rate": rate,
        "train": trained.losses(),
        "validation": None if scores is None else scores.to_dict(),
        "images_per_s": trained.images / trained.seconds,
        "data_wait_s": trained.data_wait_s,
        "compute_s": trained.seconds - trained.data_wait_s,
        "elapsed_s": position.seconds,
    }


def _note(position: Position) -> str:
    value = position.history[-1].mean_auroc if position.history else None
    return f"epoch {position.epoch + 1}" + (f", validation AUROC {value:.4f}" if value is not None else "")
