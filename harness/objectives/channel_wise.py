"""Channel-wise distillation: the divergence of planes taken as distributions over positions.

Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction" (ICCV 2021, arXiv:2011.13256): each
plane becomes a distribution over positions, so that where a channel is active counts, and not how strongly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.config import ChannelWise
from harness.networks import NetworkOutput
from harness.objectives.base import Sources, TransferObjective, check_planes


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
class ChannelWiseObjective(TransferObjective):
    """Cross-entropy plus ``weight`` times the channel-wise loss of the planes at the attention tap."""

    temperature: float

    def transfer_loss(self, output: NetworkOutput, inputs: Tensor) -> Tensor:
        """The channel-wise loss at the tap."""
        return channel_wise_loss(output.attention, self.teacher_planes(inputs), self.temperature)


def build(config: ChannelWise, sources: Sources) -> ChannelWiseObjective:
    """The objective with its teacher loaded."""
    return ChannelWiseObjective(sources.teacher(config.teacher).network, config.weight, config.temperature)
