"""The training schedule as a config, and the decisions by epoch that follow from it.

Every decision is a pure function of past validations, so a resumed run and every process of a distributed run decide
alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from datasets.errors import InputError, check
from datasets.files import KnownKeysOnly
from harness.config.checks import (
    OMIT_DEFAULT,
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
)

Optimizer = Literal["adam", "adamw", "sgd"]
Policy = Literal["step", "plateau", "cosine"]
WEIGHT_DECAY: dict[Optimizer, float] = {"adam": 0.0, "adamw": 0.01, "sgd": 0.0}
"""The weight decay of each optimiser when none is given, as in PyTorch."""


@dataclass(frozen=True, kw_only=True)
class Schedule(KnownKeysOnly):
    """Optimisation: the optimiser, its learning rate by epoch and step, and which checkpoint is kept."""

    epochs: int = 128
    """Number of epochs at most."""
    batch_size: int = 32
    """Images in one optimiser step over all processes together."""
    learning_rate: float = 5e-5
    """The learning rate at epoch 0, or after the warm-up."""
    policy: Policy = "step"
    """``step`` halves every ``halve_every`` epochs; ``plateau`` halves once the validation loss stalls; ``cosine``
    falls along half a cosine to 0 at the last epoch's end, from step to step."""
    halve_every: int = 16
    """Epochs between halvings under ``step``."""
    plateau_patience: int = 3
    """Epochs without a better validation loss after which ``plateau`` halves at each epoch."""
    clip_value: float | None = None
    """Gradients are clamped element by element to plus or minus this value."""
    patience: int | None = None
    """Stop after this many epochs without a better selection value; None never stops early."""
    select_by: Literal["mean_auroc", "loss"] = "mean_auroc"
    """Which validation value decides the best checkpoint."""
    validate_every: int = 1
    """Epochs between validations; the last epoch is always validated."""
    optimizer: Optimizer = field(default="adam", metadata=OMIT_DEFAULT)
    """torch.optim's Adam, AdamW (weight decay apart from the gradient) or SGD."""
    weight_decay: float | None = field(default=None, metadata=OMIT_DEFAULT)
    """Decay of all trained parameters; None takes ``WEIGHT_DECAY``."""
    momentum: float | None = field(default=None, metadata=OMIT_DEFAULT)
    """Momentum of SGD; None takes 0.9."""
    warmup_epochs: float = field(default=0.0, metadata=OMIT_DEFAULT)
    """Epochs, or parts of one, over which the learning rate rises linearly, from step to step."""
    accumulate: int = field(default=1, metadata=OMIT_DEFAULT)
    """Parts that the images of an optimiser step are computed in, one after another, to save memory."""
    ema_decay: float | None = field(default=None, metadata=OMIT_DEFAULT)
    """Decay, at every step, of an exponential moving average of the weights, which is then what is validated, kept,
    tested and exported; None for the weights themselves."""
    stop_after: int | None = field(default=None, metadata=OMIT_DEFAULT)
    """End after this many epochs, with the learning rates of a run of ``epochs``; a search's later rung goes on."""

    def __post_init__(self) -> None:
        """Refuse counts and rates that are not positive, and options that contradict each other."""
        counts = (
            "epochs",
            "batch_size",
            "halve_every",
            "plateau_patience",
            "validate_every",
            "patience",
            "accumulate",
            "stop_after",
        )
        for name in counts:
            check_count(f"schedule.{name}", getattr(self, name))
        for name in ("learning_rate", "clip_value"):
            check_positive(f"schedule.{name}", getattr(self, name))
        check_choice("schedule.policy", self.policy, Policy)
        check_choice("schedule.optimizer", self.optimizer, Optimizer)
        check_not_negative("schedule.weight_decay", self.weight_decay)
        check(self.momentum is None or self.optimizer == "sgd", "schedule.momentum needs schedule.optimizer = 'sgd'")
        check(self.momentum is None or 0.0 <= self.momentum < 1.0, "schedule.momentum must lie in 0..1, below 1")
        check(
            self.batch_size % self.accumulate == 0,
            f"schedule.batch_size = {self.batch_size} must be a multiple of schedule.accumulate = {self.accumulate}",
        )
        check(self.ema_decay is None or 0.0 < self.ema_decay < 1.0, "schedule.ema_decay must lie between 0 and 1")
        check_not_negative("schedule.warmup_epochs", self.warmup_epochs)
        check(
            self.warmup_epochs < self.epochs,
            f"schedule.warmup_epochs = {self.warmup_epochs:g} must be below schedule.epochs = {self.epochs}",
        )
        check_choice("schedule.select_by", self.select_by, Literal["mean_auroc", "loss"])
        check(
            self.stop_after is None or (self.stop_after < self.epochs and self.stop_after % self.validate_every == 0),
            f"schedule.stop_after = {self.stop_after} must be below schedule.epochs = {self.epochs}, and a multiple "
            f"of schedule.validate_every = {self.validate_every}",
        )

    @property
    def last_epoch(self) -> int:
        """Number of epochs after which training ends, unless ``patience`` ends it before."""
        return self.stop_after or self.epochs

    @property
    def micro_batch(self) -> int:
        """Images of one forward and backward pass over all processes: of a whole step, or the part of one."""
        return self.batch_size // self.accumulate


def chexclusion() -> Schedule:
    """Schedule of the MIMIC-CXR teacher after CheXclusion: Adam 5e-4, plateau, batch 48, gradients in ±0.5.

    Source: the public code of Seyyed-Kalantari et al., "CheXclusion"; the optimiser's moments are kept across epochs.
    """
    return Schedule(
        epochs=65,
        batch_size=48,
        learning_rate=5e-4,
        policy="plateau",
        clip_value=0.5,
        patience=10,
        select_by="loss",
    )


SCHEDULE_PRESETS = {"paper": Schedule, "chexclusion": chexclusion}


@dataclass(frozen=True, kw_only=True)
class Validated:
    """What one validation decides by."""

    epoch: int
    """Epoch after which it was made, from 0."""
    loss: float
    """Validation cross-entropy."""
    mean_auroc: float | None
    """Mean validation AUROC in 0..1; None when no label has both classes."""


def learning_rate(schedule: Schedule, epoch: int, history: Sequence[Validated]) -> float:
    """The learning rate of ``epoch``, given the validations made so far; ``step_factor`` tells its course inside.

    ``step``: lr * 0.5 ** (epoch // halve_every), the paper's StepLR(16, 0.5). ``plateau`` (CheXclusion): halved after
    each validated epoch that lies at least ``plateau_patience`` epochs after the best validation loss so far.
    """
    if schedule.policy == "cosine":
        halvings = 0
    elif schedule.policy == "step":
        halvings = epoch // schedule.halve_every
    else:
        halvings, best = 0, None
        for past in (item for item in history if item.epoch < epoch):
            if best is None or past.loss < best.loss:
                best = past
            elif past.epoch - best.epoch >= schedule.plateau_patience:
                halvings += 1
    return float(schedule.learning_rate * 0.5**halvings)


def step_factor(schedule: Schedule, epoch: int, step: int, num_steps: int) -> float:
    """What the epoch's learning rate is multiplied by at ``step``, from 0, of its ``num_steps`` optimiser steps.

    The warm-up reaches 1 with its last step; the cosine starts behind it.
    """
    if epoch + (step + 1) / num_steps <= schedule.warmup_epochs:
        return (epoch + (step + 1) / num_steps) / schedule.warmup_epochs
    if schedule.policy != "cosine":
        return 1.0
    done = (epoch + step / num_steps - schedule.warmup_epochs) / (schedule.epochs - schedule.warmup_epochs)
    return 0.5 * (1.0 + math.cos(math.pi * max(0.0, done)))


def validation_due(schedule: Schedule, epoch: int) -> bool:
    """Whether the network is validated after ``epoch``: every ``validate_every`` epochs and after the last."""
    return (epoch + 1) % schedule.validate_every == 0 or epoch + 1 == schedule.epochs


def is_better(schedule: Schedule, new: Validated, best: Validated | None) -> bool:
    """Whether ``new`` is strictly better than ``best`` by the schedule's selection value; None is beaten by anything.

    Raises:
        InputError: when selection is by AUROC and no label of the validation split has both classes.
    """
    if schedule.select_by == "loss":
        return best is None or new.loss < best.loss
    if new.mean_auroc is None:
        raise InputError(
            "no label of the validation split has both classes, so the best epoch cannot be chosen by mean AUROC; "
            "set schedule.select_by = 'loss' or use a larger validation split"
        )
    return best is None or best.mean_auroc is None or new.mean_auroc > best.mean_auroc


def best_of(schedule: Schedule, history: Sequence[Validated]) -> Validated | None:
    """The first best validation of ``history``; None when there is none."""
    best: Validated | None = None
    for item in history:
        if is_better(schedule, item, best):
            best = item
    return best


def decides_by_history(schedule: Schedule) -> bool:
    """Whether the learning rate of an epoch, or whether there is one, depends on the validations before it."""
    return schedule.patience is not None or schedule.policy == "plateau"


def stops_early(schedule: Schedule, history: Sequence[Validated]) -> bool:
    """Whether ``patience`` epochs have passed since the best validation."""
    best = best_of(schedule, history)
    if schedule.patience is None or best is None:
        return False
    return history[-1].epoch - best.epoch >= schedule.patience
