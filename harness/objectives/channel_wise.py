"""Channel-wise distillation: a student's planes and its images come in; cross-entropy plus their divergence go out.

Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction" (ICCV 2021, arXiv:2011.13256): each
plane becomes a distribution over positions, so that where a channel is active counts, and not how strongly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.config import ChannelWise
from harness.networks import Network, NetworkOutput
from harness.objectives.attention_loss import check_planes
from harness.objectives.base import Losses, Sources, combined, teacher_planes
from harness.objectives.cross_entropy import masked_cross_entropy


def channel_wise_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """(T²/C) sum over channels of KL(teacher || student), planes (B, C, H, W) as softmax over H W of values / T.

    A float32 scalar, the mean over the batch; 0 where each plane of the student is the teacher's plus a constant.

    Raises:
        ValueError: when the shapes differ, or are not those of planes.
    """
    check_planes(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        ours = F.log_softmax(student.float().flatten(2) / temperature, dim=2)
        theirs = F.log_softmax(teacher.float().flatten(2) / temperature, dim=2)
        divergences = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=2)
        return divergences.mean() * temperature**2


@dataclass(frozen=True, eq=False)
class ChannelWiseObjective:
    """Cross-entropy plus ``weight`` times the channel-wise loss of the planes at the attention tap."""

    teacher: Network
    weight: float
    temperature: float
    module: ClassVar[None] = None

    def __call__(self, output: NetworkOutput, inputs: Tensor, targets: Tensor) -> Losses:
        cross_entropy = masked_cross_entropy(output.logits, targets)
        planes = teacher_planes(self.teacher, inputs)
        divergence = channel_wise_loss(output.attention, planes, self.temperature)
        return combined(cross_entropy, divergence, self.weight)


def build(config: ChannelWise, sources: Sources) -> ChannelWiseObjective:
    """The objective with its teacher loaded."""
    teacher = sources.teacher(config.teacher)
    return ChannelWiseObjective(teacher=teacher.network, weight=config.weight, temperature=config.temperature)
