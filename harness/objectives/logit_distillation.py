"""Logit distillation: the teacher's softened outputs as further targets, on the labels that both have.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531, 2015), section 2.
There one softmax over all classes; here each label has a softmax of its own over present and absent: a sigmoid.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.errors import InputError
from harness.config import LogitDistillation
from harness.networks import NetworkOutput
from harness.objectives.base import Sources, TransferObjective
from harness.weights.teacher import Teacher

logger = logging.getLogger(__name__)


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² times the binary cross-entropy of student logits / T against sigmoid(teacher logits / T), a float32 mean.

    Both (B, L), column by column the same labels. Every entry counts: the teacher has an opinion where the tables
    have none. T² keeps the gradient's size whatever T is, as in the source. A student that equals its teacher has the
    smallest value that this teacher allows, the entropy of its outputs, and no gradient.

    Raises:
        ValueError: when the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"logits of shape {tuple(student.shape)} (student) and {tuple(teacher.shape)} (teacher)")
    with torch.autocast(student.device.type, enabled=False):
        targets = torch.sigmoid(teacher.float() / temperature)
        loss = F.binary_cross_entropy_with_logits(student.float() / temperature, targets)
        return loss * temperature**2


@dataclass(frozen=True, eq=False)
class LogitDistillationObjective(TransferObjective):
    """Cross-entropy on all labels plus ``weight`` times the distillation loss on those that the teacher has too."""

    temperature: float
    student_columns: Tensor
    """Places of the shared labels among the student's outputs."""
    teacher_columns: Tensor
    """Places of the same labels, in the same order, among the teacher's."""

    def transfer_loss(self, output: NetworkOutput, inputs: Tensor) -> Tensor:
        """The distillation loss on the shared labels."""
        # no_grad, not inference_mode: autograd may not save an inference tensor for the student's gradient.
        with torch.no_grad():
            taught = self.teacher(inputs).logits.index_select(1, self.teacher_columns)
        return distillation_loss(output.logits.index_select(1, self.student_columns), taught, self.temperature)


def shared_labels(student: Sequence[str], teacher: Teacher) -> tuple[str, ...]:
    """Labels that both have by name, in the student's order.

    Raises:
        InputError: when there is none: outputs that mean different things have nothing to teach each other.
    """
    theirs = [label for label in teacher.labels or () if label]
    shared = tuple(label for label in student if label in theirs)
    if not shared:
        raise InputError(
            f"logit distillation: {teacher.origin} has no label of the student's; its labels: "
            f"{', '.join(theirs) or 'none'}; the student's: {', '.join(student) or 'none'}; "
            "take another teacher, or an objective that compares planes instead of outputs"
        )
    return shared


def build(config: LogitDistillation, sources: Sources) -> LogitDistillationObjective:
    """The objective with its teacher loaded; the labels that it distils are logged."""
    teacher = sources.teacher(config.teacher)
    shared = shared_labels(sources.labels, teacher)
    logger.info("logit distillation over %d of %d labels: %s", len(shared), len(sources.labels), ", ".join(shared))
    assert teacher.labels is not None, "labels are shared, so there are some"
    return LogitDistillationObjective(
        teacher.network,
        config.weight,
        temperature=config.temperature,
        student_columns=_columns(shared, sources.labels, sources.device),
        teacher_columns=_columns(shared, teacher.labels, sources.device),
    )


def _columns(labels: Sequence[str], outputs: Sequence[str], device: torch.device) -> Tensor:
    return torch.tensor([outputs.index(label) for label in labels], device=device)
