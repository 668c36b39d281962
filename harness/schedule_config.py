"""The schedule of a run as a config: epochs, batch, learning rate, selection; and its named presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from harness.checks import STRICT, check, check_choice


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Optimisation: Adam, its learning rate by epoch, and which checkpoint is kept."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

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
        for name in ("epochs", "batch_size", "halve_every", "plateau_patience", "validate_every"):
            check(getattr(self, name) >= 1, f"schedule.{name} must be at least 1")
        check(self.learning_rate > 0, "schedule.learning_rate must be positive")
        check_choice("schedule.policy", self.policy, Literal["step", "plateau"])
        check_choice("schedule.select_by", self.select_by, Literal["mean_auroc", "loss"])
        check(self.clip_value is None or self.clip_value > 0, "schedule.clip_value must be positive")
        check(self.patience is None or self.patience >= 1, "schedule.patience must be at least 1")


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
