"""Objectives: a network's output, its inputs and the targets come in; the loss to minimise and its parts go out.

An objective is a value that the training loop calls; which method it is makes no difference to the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from harness.attention import attention_loss
from harness.config import AttentionForm, AttentionTransfer, TransferLearning
from harness.config import Objective as ObjectiveConfig
from harness.cross_entropy import masked_cross_entropy
from harness.networks import Network, NetworkOutput
from harness.teacher import load_teacher


class Losses(NamedTuple):
    """Scalars of one batch, float32, on the device; ``total`` carries the gradient."""

    total: Tensor
    cross_entropy: Tensor
    attention: Tensor | None
    """Unweighted attention loss; None when the objective has none."""


class Objective(Protocol):
    """What the training loop calls, inside the autocast that the network ran under."""

    def __call__(self, output: NetworkOutput, inputs: Tensor, targets: Tensor) -> Losses:
        """Losses of one batch: ``inputs`` (B, 3, S, S) as the network had them, ``targets`` (B, L) uint8."""


@dataclass(frozen=True)
class SupervisedObjective:
    """Cross-entropy alone: transfer learning."""

    def __call__(self, output: NetworkOutput, inputs: Tensor, targets: Tensor) -> Losses:
        cross_entropy = masked_cross_entropy(output.logits, targets)
        return Losses(total=cross_entropy, cross_entropy=cross_entropy, attention=None)


@dataclass(frozen=True, eq=False)
class AttentionTransferObjective:
    """The paper's equation (1): cross-entropy plus ``weight`` times the attention loss to a frozen teacher.

    The teacher sees the student's own augmented images. It is no part of the student: it is not in the student's
    state dict, in the optimiser, or in what Accelerate prepares.
    """

    teacher: Network
    weight: float
    """Lambda in L = CE + lambda * L_AT."""
    form: AttentionForm = "eq2"

    def __call__(self, output: NetworkOutput, inputs: Tensor, targets: Tensor) -> Losses:
        cross_entropy = masked_cross_entropy(output.logits, targets)
        # no_grad, not inference_mode: autograd may not save an inference tensor for the student's gradient.
        with torch.no_grad():
            planes = self.teacher.attention_planes(inputs)
        attention = attention_loss(output.attention, planes, self.form)
        # Without weight the sum is left out altogether, so that value and gradient are those of cross-entropy alone,
        # bit for bit: even 0 * x changes the order of sums in a gradient, and is NaN where x is infinite.
        total = cross_entropy if self.weight == 0.0 else cross_entropy + self.weight * attention
        return Losses(total=total, cross_entropy=cross_entropy, attention=attention.detach())


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where an objective finds its weights and where it puts them."""

    weight: float | None
    """The canonical attention weight when a beta search chose it; None takes the config's own."""
    runs_dir: Path
    imagenet_weights: Path | None
    device: torch.device


def _supervised(config: ObjectiveConfig, sources: Sources) -> Objective:
    return SupervisedObjective()


def _attention_transfer(config: ObjectiveConfig, sources: Sources) -> Objective:
    assert isinstance(config, AttentionTransfer)
    weight = config.attention_weight() if sources.weight is None else sources.weight
    teacher = load_teacher(config.teacher, runs_dir=sources.runs_dir, imagenet_weights=sources.imagenet_weights)
    teacher.to(sources.device).to(memory_format=torch.channels_last)
    return AttentionTransferObjective(teacher=teacher, weight=weight, form=config.form)


OBJECTIVES: dict[type[ObjectiveConfig], Callable[[ObjectiveConfig, Sources], Objective]] = {
    TransferLearning: _supervised,
    AttentionTransfer: _attention_transfer,
}
"""Builder of each objective by the type of its config."""


def build_objective(
    config: ObjectiveConfig,
    *,
    weight: float | None,
    runs_dir: Path,
    imagenet_weights: Path | None,
    device: torch.device,
) -> Objective:
    """The objective of a run, its teacher (if any) loaded, frozen and on ``device``.

    Raises:
        InputError: when the teacher's weights are not there or do not fit.
        ValueError: when ``weight`` is None and the config's beta is a search.
    """
    sources = Sources(weight=weight, runs_dir=runs_dir, imagenet_weights=imagenet_weights, device=device)
    return OBJECTIVES[type(config)](config, sources)
