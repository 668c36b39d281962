"""FitNet hints: a student's planes and its images come in; cross-entropy plus the hint loss go out.

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
from harness.networks import ATTENTION_PLANES, Network, NetworkOutput
from harness.objectives.attention_loss import check_planes
from harness.objectives.base import Losses, Sources, combined, teacher_planes
from harness.objectives.cross_entropy import masked_cross_entropy


def hint_loss(student: Tensor, teacher: Tensor, regressor: nn.Module) -> Tensor:
    """Mean squared error between ``regressor(student)`` and ``teacher``, planes (B, C, H, W) both; a float32 scalar.

    The mean over all values instead of the source's half sum, so that the weight means the same at any image size.

    Raises:
        ValueError: when the shapes differ, or are not those of planes.
    """
    check_planes(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        return F.mse_loss(regressor(student.float()), teacher.float())


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
class FitNetObjective:
    """Cross-entropy plus ``weight`` times the hint loss at the attention tap, through the regressor."""

    teacher: Network
    weight: float
    regressor: nn.Conv2d

    @property
    def module(self) -> nn.Module | None:
        """The regressor; without weight it has no gradient and is not trained."""
        return None if self.weight == 0.0 else self.regressor

    def __call__(self, output: NetworkOutput, inputs: Tensor, targets: Tensor) -> Losses:
        cross_entropy = masked_cross_entropy(output.logits, targets)
        hint = hint_loss(output.attention, teacher_planes(self.teacher, inputs), self.regressor)
        return combined(cross_entropy, hint, self.weight)


def build(config: FitNet, sources: Sources) -> FitNetObjective:
    """The objective with its teacher loaded and a fresh regressor."""
    teacher = sources.teacher(config.teacher)
    regressor = build_regressor().to(sources.device)
    return FitNetObjective(teacher=teacher.network, weight=config.weight, regressor=regressor)
