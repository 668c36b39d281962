"""Channel-wise distillation: the divergence of planes taken as distributions over positions.

Source: Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction" (ICCV 2021, arXiv:2011.13256): each
plane becomes a distribution over positions, so that where a channel is active counts, and not how strongly.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from harness.config import ChannelWise
from harness.objectives.base import PlaneObjective, Sources, check_paired, plane_loss


@plane_loss
def channel_wise_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """(T²/C) sum over channels of KL(teacher || student), planes (B, C, H, W) as softmax over H W of values / T.

    The mean over the batch; 0 where each plane of the student is the teacher's plus a constant.

    Raises:
        ValueError: when they are not of one shape.
    """
    check_paired(student, teacher)
    ours = F.log_softmax(student.flatten(2) / temperature, dim=2)
    theirs = F.log_softmax(teacher.flatten(2) / temperature, dim=2)
    divergences = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=2)
    return divergences.mean() * temperature**2


def build(config: ChannelWise, sources: Sources) -> PlaneObjective:
    """The objective with its teacher loaded."""
    loss = partial(channel_wise_loss, temperature=config.temperature)
    teacher = sources.teacher(config.teacher).network
    return PlaneObjective(teacher, config.weight, loss, sources.regressor(teacher) if config.project else None)
