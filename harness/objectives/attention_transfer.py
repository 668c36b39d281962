"""Attention transfer: the distance between a student's and a teacher's attention planes.

Equations (1) and (2) of the paper and two other forms of the loss, each in float32 whatever autocast is on: squares
of activations underflow in float16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.config import AttentionForm, AttentionTransfer
from harness.networks import NetworkOutput
from harness.objectives.base import EPS, Sources, TransferObjective, check_planes


@dataclass(frozen=True, eq=False)
class AttentionTransferObjective(TransferObjective):
    """The paper's equation (1); ``weight`` is lambda in L = CE + lambda * L_AT."""

    form: AttentionForm = "eq2"

    def transfer_loss(self, output: NetworkOutput, inputs: Tensor) -> Tensor:
        """The attention loss at the tap."""
        return attention_loss(output.attention, self.teacher_planes(inputs), self.form)


def build(config: AttentionTransfer, sources: Sources) -> AttentionTransferObjective:
    """The objective with its teacher loaded; the weight is the one that a beta search chose, if any."""
    weight = config.attention_weight() if sources.weight is None else sources.weight
    return AttentionTransferObjective(sources.teacher(config.teacher).network, weight, config.form)


def attention_loss(student: Tensor, teacher: Tensor, form: AttentionForm) -> Tensor:
    """Distance between attention planes, (B, C, H, W) each; planes pair by index.

    Raises:
        ValueError: when the shapes differ, or are not those of planes.
    """
    check_planes(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        return FORMS[form](student.float(), teacher.float())


def equation_2(student: Tensor, teacher: Tensor) -> Tensor:
    """Equation (2): (1/C) sum_j || Qs_j/||Qs_j|| - Qt_j/||Qt_j|| ||, not squared; 0 (equal) to 2 (negated).

    ``vector_norm`` has the subgradient 0 at 0, where the root of a sum of squares would give NaN: a student that
    starts as its teacher's copy is at that very point.
    """
    distances: Tensor = torch.linalg.vector_norm(_unit_planes(student) - _unit_planes(teacher), dim=2)
    return distances.mean()


def mean_square(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of the same unit planes, mean over batch, planes and positions: 0 to 4/(H W)."""
    return (_unit_planes(student) - _unit_planes(teacher)).square().mean()


def original_at(student: Tensor, teacher: Tensor) -> Tensor:
    """Zagoruyko and Komodakis' form: one map per image, the mean square over channels, scaled to unit length.

    Mean over batch and positions of the squared difference, 0 to 2/(H W).
    """
    return (_unit_map(student) - _unit_map(teacher)).square().mean()


FORMS: dict[AttentionForm, Callable[[Tensor, Tensor], Tensor]] = {
    "eq2": equation_2,
    "mean_square": mean_square,
    "original_at": original_at,
}
"""Every form by its name in a config; both arguments are float32 (B, C, H, W)."""


def _unit_planes(planes: Tensor) -> Tensor:
    """(B, C, H W): each plane as a vector of length 1."""
    return F.normalize(planes.flatten(2), dim=2, eps=EPS)


def _unit_map(planes: Tensor) -> Tensor:
    """(B, H W): the mean square over channels as a vector of length 1; its unit is squared, hence EPS squared."""
    return F.normalize(planes.square().mean(dim=1).flatten(1), dim=1, eps=EPS**2)
