"""Decisions by epoch: past validations come in; learning rate, best epoch and the moment to stop go out.

All are pure functions, so a resumed run and every process of a distributed run decide alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datasets.errors import InputError
from harness.config import Schedule


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


def stops_early(schedule: Schedule, history: Sequence[Validated]) -> bool:
    """Whether ``patience`` epochs have passed since the best validation."""
    best = best_of(schedule, history)
    if schedule.patience is None or best is None:
        return False
    return history[-1].epoch - best.epoch >= schedule.patience
