"""The attention loss: a student's and a teacher's planes come in; a float32 scalar, the batch mean, goes out.

Equation (2) of the paper and two other forms, each in float32 whatever autocast is on: squares of activations
underflow in float16.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.config import AttentionForm

EPS = 1e-6
"""Norm under which a plane counts as empty: it is divided by this instead, which bounds the gradient."""


def attention_loss(student: Tensor, teacher: Tensor, form: AttentionForm) -> Tensor:
    """Distance between attention planes, (B, C, H, W) each; planes pair by index.

    Raises:
        ValueError: when the shapes differ, or are not those of planes.
    """
    check_planes(student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        return FORMS[form](student.float(), teacher.float())


def check_planes(student: Tensor, teacher: Tensor) -> None:
    """Raise ValueError unless both are planes (B, C, H, W) of one shape: broadcasting would pair the wrong ones."""
    if student.ndim != 4 or student.shape != teacher.shape:
        raise ValueError(
            f"attention planes of shape {tuple(student.shape)} (student) and {tuple(teacher.shape)} (teacher); "
            "expected (B, C, H, W), the same for both"
        )


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
