"""What all objectives share: the losses of a batch, the call that makes them, and the sources they are built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from harness.config import Weights
from harness.networks import Network, NetworkOutput
from harness.runs.runtime import FolderOf
from harness.weights.teacher import Teacher, read_teacher


class Losses(NamedTuple):
    """Scalars of one batch, float32, on the device; ``total`` carries the gradient."""

    total: Tensor
    cross_entropy: Tensor
    attention: Tensor | None
    """Unweighted transfer loss: the attention loss, or what the objective has in its place; None without one."""


class Objective(Protocol):
    """What the training loop calls, inside the autocast that the network ran under."""

    @property
    def module(self) -> nn.Module | None:
        """What is trained beside the student, on the device; None for nothing.

        Its parameters go into the optimiser, its gradients are averaged over processes, its state is part of the
        checkpoint that a run goes on from. It is no part of the student, and of no use once the run is done.
        """

    def __call__(self, output: NetworkOutput, inputs: Tensor, targets: Tensor) -> Losses:
        """Losses of one batch: ``inputs`` (B, 3, S, S) as the network had them, ``targets`` (B, L) uint8."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where an objective finds its weights and where it puts them."""

    weight: float | None
    """The canonical attention weight when a beta search chose it; None takes the config's own."""
    labels: tuple[str, ...]
    """Names of the student's outputs, in order."""
    folder_of: FolderOf
    imagenet_weights: Path | None
    xrv_weights: Sequence[Path]
    device: torch.device

    def teacher(self, weights: Weights) -> Teacher:
        """The teacher that ``weights`` names, frozen, on the device."""
        teacher = read_teacher(
            weights,
            folder_of=self.folder_of,
            imagenet_weights=self.imagenet_weights,
            xrv_weights=self.xrv_weights,
        )
        # The layout that its convolutions are fastest in.
        teacher.network.to(self.device).to(memory_format=torch.channels_last)
        return teacher


def combined(cross_entropy: Tensor, transfer: Tensor, weight: float) -> Losses:
    """L = CE + weight * transfer, the paper's equation (1) with any transfer loss in the place of its L_AT.

    Without weight the sum is left out altogether, so that value and gradient are those of cross-entropy alone, bit
    for bit: even 0 * x changes the order of sums in a gradient, and is NaN where x is infinite.
    """
    total = cross_entropy if weight == 0.0 else cross_entropy + weight * transfer
    return Losses(total=total, cross_entropy=cross_entropy, attention=transfer.detach())


def teacher_planes(teacher: Network, inputs: Tensor) -> Tensor:
    """Planes (B, 32, S/32, S/32) of a frozen teacher, run under the caller's autocast and only as deep as its tap."""
    with torch.inference_mode():
        planes = teacher.attention_planes(inputs)
    # A copy made outside: autograd may not save an inference tensor for the student's gradient.
    return planes.clone()
