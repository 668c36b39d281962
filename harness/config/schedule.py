"""The training schedule as a config, and the decisions by epoch that follow from it.

Every decision is a pure function of past validations, so a resumed run and every process of a distributed run decide
alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from datasets.errors import InputError
from harness.config.checks import KnownKeysOnly, check_choice, check_count, check_positive


@dataclass(frozen=True, kw_only=True)
class Schedule(KnownKeysOnly):
    """Optimisation: Adam, its learning rate by epoch, and which checkpoint is kept."""

    epochs: int = 128
    """Number of epochs at most."""
    batch_size: int = 32
    """Images in one optimiser step over all processes together."""
    learning_rate: float = 5e-5
    """Adam's learning rate at epoch 0."""
    policy: Literal["step", "plateau"] = "step"
    """``step`` halves every ``halve_every`` epochs; ``plateau`` halves once the validation loss stalls."""
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

    def __post_init__(self) -> None:
        """Refuse counts and rates that are not positive."""
        for name in ("epochs", "batch_size", "halve_every", "plateau_patience", "validate_every", "patience"):
            check_count(f"schedule.{name}", getattr(self, name))
        for name in ("learning_rate", "clip_value"):
            check_positive(f"schedule.{name}", getattr(self, name))
        check_choice("schedule.policy", self.policy, Literal["step", "plateau"])
        check_choice("schedule.select_by", self.select_by, Literal["mean_auroc", "loss"])


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
    """Adam's learning rate at ``epoch``, given the validations made so far.

    ``step``: lr * 0.5 ** (epoch // halve_every), the paper's StepLR(16, 0.5). ``plateau`` (CheXclusion): halved after
    each validated epoch that lies at least ``plateau_patience`` epochs after the best validation loss so far.
    """
    if schedule.policy == "step":
        halvings = epoch // schedule.halve_every
    else:
        halvings, best = 0, None
        for past in (item for item in history if item.epoch < epoch):
            if best is None or past.loss < best.loss:
                best = past
            elif past.epoch - best.epoch >= schedule.plateau_patience:
                halvings += 1
    return float(schedule.learning_rate * 0.5**halvings)


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
