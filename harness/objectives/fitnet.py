"""FitNet hints: the squared error of the student's planes through a learned 1x1 convolution.

Source: Romero et al., "FitNets: Hints for Thin Deep Nets" (arXiv:1412.6550, 2015), equation (3): the teacher's hint
layer is regressed from the student's guided layer by a convolution that is trained along. The source trains this
first and the outputs afterwards; here, as is common since, both at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.config import FitNet
from harness.networks import ATTENTION_PLANES, NetworkOutput
from harness.objectives.base import Sources, TransferObjective, plane_loss


@plane_loss
def hint_loss(student: Tensor, teacher: Tensor, regressor: nn.Module) -> Tensor:
    """Mean squared error between ``regressor(student)`` and ``teacher``, planes (B, C, H, W) both.

    The mean over all values instead of the source's half sum, so that the weight means the same at any image size.
    """
    return F.mse_loss(regressor(student), teacher)


def build_regressor(num_planes: int = ATTENTION_PLANES) -> nn.Conv2d:
    """A 1x1 convolution that starts as the identity: planes of student and teacher pair by index before training.

    It draws no random number, so that a run's other random numbers are those of any other objective.
    """
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights that are overwritten
        regressor = nn.Conv2d(num_planes, num_planes, kernel_size=1)
    nn.init.dirac_(regressor.weight)
    nn.init.zeros_(regressor.bias)  # type: ignore[arg-type]
    return regressor


@dataclass(frozen=True, eq=False)
class FitNetObjective(TransferObjective):
    """Cross-entropy plus ``weight`` times the hint loss at the attention tap, through the regressor."""

    regressor: nn.Conv2d

    @property
    def module(self) -> nn.Module | None:
        """The regressor; without weight it has no gradient and is not trained."""
        return None if self.weight == 0.0 else self.regressor

    def transfer_loss(self, output: NetworkOutput, inputs: Tensor) -> Tensor:
        """The hint loss at the tap."""
        return hint_loss(output.attention, self.teacher_planes(inputs), self.regressor)


def build(config: FitNet, sources: Sources) -> FitNetObjective:
    """The objective with its teacher loaded and a fresh regressor."""
    return FitNetObjective(
        sources.teacher(config.teacher).network, config.weight, build_regressor().to(sources.device)
    )
