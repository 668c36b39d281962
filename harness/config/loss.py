"""How targets enter the cross-entropy of training; validation and tests always score the plain ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from datasets.errors import check
from datasets.files import KnownKeysOnly
from harness.config.checks import (
    OMIT_DEFAULT,
    check_choice,
    check_not_negative,
    check_positive,
)

UncertainPolicy = Literal["zero", "one", "ignore", "smoothed"]


@dataclass(frozen=True, kw_only=True)
class LossOptions(KnownKeysOnly):
    """Options of the cross-entropy of training, all of them off by default."""

    positive_weights: Literal["prevalence"] | dict[str, float] | None = field(
        default=None, metadata=OMIT_DEFAULT, hash=False
    )
    """Weight of a label's positives: by label, 1 where none is given; or ``prevalence``, negatives over positives of
    the training images."""
    label_smoothing: float = field(default=0.0, metadata=OMIT_DEFAULT)
    """Targets 0 and 1 become this / 2 and 1 - this / 2."""
    uncertain: UncertainPolicy | dict[str, UncertainPolicy] | None = field(
        default=None, metadata=OMIT_DEFAULT, hash=False
    )
    """What a label that the tables call uncertain is in training, for all labels or by label: negative, positive,
    left out, or ``uncertain_target``; None, and a label not named, keep what the conversion made of it."""
    uncertain_target: float = field(default=0.7, metadata=OMIT_DEFAULT)
    """The target of an uncertain label under ``smoothed``; 0.7 is the middle of the range of Pham et al.
    (arXiv:1911.06475)."""
    mixup: float = field(default=0.0, metadata=OMIT_DEFAULT)
    """Neighbours in a batch are mixed in shares drawn from Beta(this, this) (Zhang et al., arXiv:1710.09412)."""

    def __post_init__(self) -> None:
        """Refuse values out of range; whether the labels are there is told once the beton is open."""
        if isinstance(self.positive_weights, dict):
            for label, weight in self.positive_weights.items():
                check_positive(f"loss.positive_weights.{label}", weight)
        elif self.positive_weights is not None:
            check_choice("loss.positive_weights", self.positive_weights, Literal["prevalence"])
        policies = self.uncertain if isinstance(self.uncertain, dict) else {"": self.uncertain}
        for label, policy in policies.items():
            if policy is not None:
                check_choice(f"loss.uncertain{label and '.'}{label}", policy, UncertainPolicy)
        smoothed = "smoothed" in policies.values()
        check(
            smoothed or self.uncertain_target == LossOptions.uncertain_target,
            "loss.uncertain_target needs loss.uncertain = 'smoothed'",
        )
        check(0.0 <= self.label_smoothing < 1.0, "loss.label_smoothing must lie in 0..1, below 1")
        check(0.0 <= self.uncertain_target <= 1.0, "loss.uncertain_target must lie in 0..1")
        check_not_negative("loss.mixup", self.mixup)

    @property
    def softens(self) -> bool:
        """Whether targets are other than those of the beton."""
        return self.label_smoothing > 0.0 or self.uncertain is not None
