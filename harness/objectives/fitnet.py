"""FitNet hints: the squared error of the student's planes through a learned 1x1 convolution.

Source: Romero et al., "FitNets: Hints for Thin Deep Nets" (arXiv:1412.6550, 2015), equation (3): the teacher's hint
layer is regressed from the student's guided layer by a convolution that is trained along. The source trains this
first and the outputs afterwards; here, as is common since, both at once.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from harness.config import FitNet
from harness.objectives.base import PlaneObjective, Sources, check_paired, plane_loss


@plane_loss
def hint_loss(regressed: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error between the student's planes behind the regressor and the teacher's, (B, C, H, W) both.

    The mean over all values instead of the source's half sum, so that the weight means the same at any image size.

    Raises:
        ValueError: when they are not of one shape.
    """
    check_paired(regressed, teacher)
    return F.mse_loss(regressed, teacher)


def build(config: FitNet, sources: Sources) -> PlaneObjective:
    """The objective with its teacher loaded and a fresh regressor."""
    teacher = sources.teacher(config.teacher).network
    return PlaneObjective(teacher, config.weight, hint_loss, sources.regressor(teacher))
