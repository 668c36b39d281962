"""Transfer learning: cross-entropy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harness.config import TransferLearning
from harness.networks import NetworkOutput
from harness.objectives.base import Losses, Sources, masked_cross_entropy


@dataclass(frozen=True)
class SupervisedObjective:
    """Cross-entropy alone: transfer learning."""

    module: ClassVar[None] = None
    positive_weights: Tensor | None = None
    """Set by ``build_objective``."""

    def __call__(self, output: NetworkOutput, inputs: Tensor, targets: Tensor) -> Losses:
        """The cross-entropy, which is the whole loss."""
        cross_entropy = masked_cross_entropy(output.logits, targets, self.positive_weights)
        return Losses(total=cross_entropy, cross_entropy=cross_entropy, attention=None)


def build(config: TransferLearning, sources: Sources) -> SupervisedObjective:
    """The objective; there is nothing to load."""
    return SupervisedObjective()
