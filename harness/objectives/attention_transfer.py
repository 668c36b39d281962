"""Attention transfer: a student's output and its images come in; cross-entropy plus the attention loss go out.

Source: the paper's equations (1) and (2); ``harness.objectives.attention_loss`` has the loss itself and its
other forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harness.config import AttentionForm, AttentionTransfer
from harness.networks import Network, NetworkOutput
from harness.objectives.attention_loss import attention_loss
from harness.objectives.base import Losses, Sources, combined, teacher_planes
from harness.objectives.cross_entropy import masked_cross_entropy


@dataclass(frozen=True, eq=False)
class AttentionTransferObjective:
    """The paper's equation (1): cross-entropy plus ``weight`` times the attention loss to a frozen teacher.

    The teacher sees the student's own augmented images. It is no part of the student: it is not in the student's
    state dict, in the optimiser, or in what Accelerate prepares.
    """

    teacher: Network
    weight: float
    """Lambda in L = CE + lambda * L_AT."""
    form: AttentionForm = "eq2"
    module: ClassVar[None] = None

    def __call__(self, output: NetworkOutput, inputs: Tensor, targets: Tensor) -> Losses:
        cross_entropy = masked_cross_entropy(output.logits, targets)
        attention = attention_loss(output.attention, teacher_planes(self.teacher, inputs), self.form)
        return combined(cross_entropy, attention, self.weight)


def build(config: AttentionTransfer, sources: Sources) -> AttentionTransferObjective:
    """The objective with its teacher loaded; the weight is the one that a beta search chose, if any."""
    weight = config.attention_weight() if sources.weight is None else sources.weight
    teacher = sources.teacher(config.teacher)
    return AttentionTransferObjective(teacher=teacher.network, weight=weight, form=config.form)
