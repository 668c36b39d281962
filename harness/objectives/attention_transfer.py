"""Attention transfer: the distance between a student's and a teacher's attention planes.

Equations (1) and (2) of the paper and two other forms of the loss, each in float32 whatever autocast is on: squares
of activations underflow in float16.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.config import AttentionForm, AttentionTransfer
from harness.objectives.base import EPS, PlaneObjective, Sources, check_paired, plane_loss, same_size


def build(config: AttentionTransfer, sources: Sources) -> PlaneObjective:
    """The paper's equation (1), L = CE + lambda * L_AT; the weight, lambda, is what a beta search chose, if any."""
    weight = config.attention_weight() if sources.weight is None else sources.weight
    teacher = sources.teacher(config.teacher).network
    regressor = sources.regressor(teacher) if config.project else None
    return PlaneObjective(teacher, weight, partial(attention_loss, form=config.form), regressor)


@plane_loss
def attention_loss(student: Tensor, teacher: Tensor, form: AttentionForm) -> Tensor:
    """Distance between attention planes, which pair by index, or between the maps of ``original_at``, which need not.

    Raises:
        ValueError: when planes that pair are not of one shape.
    """
    if form != "original_at":
        check_paired(student, teacher)
    return FORMS[form](student, teacher)


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

    Mean over batch and positions of the squared difference, 0 to 2/(H W). The numbers of channels may differ; of maps
    of different sizes the larger is averaged to the smaller.
    """
    ours, theirs = same_size(student.square().mean(dim=1), teacher.square().mean(dim=1))
    return (_unit_map(ours) - _unit_map(theirs)).square().mean()


FORMS: dict[AttentionForm, Callable[[Tensor, Tensor], Tensor]] = {
    "eq2": equation_2,
    "mean_square": mean_square,
    "original_at": original_at,
}
"""Every form by its name in a config; both arguments are float32 (B, C, H, W)."""


def _unit_planes(planes: Tensor) -> Tensor:
    """(B, C, H W): each plane as a vector of length 1."""
    return F.normalize(planes.flatten(2), dim=2, eps=EPS)


def _unit_map(maps: Tensor) -> Tensor:
    """(B, H W): the mean square over channels as a vector of length 1; its unit is squared, hence EPS squared."""
    return F.normalize(maps.flatten(1), dim=1, eps=EPS**2)
