"""Define what objectives share: the losses of a batch, the call that makes them, and what they are built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, NamedTuple, ParamSpec, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets.sources.labels import IGNORED
from harness.config import Weights
from harness.networks import Network, NetworkOutput
from harness.runs.runtime import RuntimeConfig
from harness.weights.teacher import Teacher, read_teacher

P = ParamSpec("P")
EPS = 1e-6
"""Length under which a vector counts as empty: it is divided by this instead, which bounds the gradient."""


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
        checkpoint that a run resumes from. It is no part of the student, and of no use once the run is done.
        """

    def __call__(self, output: NetworkOutput, inputs: Tensor, targets: Tensor) -> Losses:
        """Losses of one batch: ``inputs`` (B, 3, S, S) as the network had them, ``targets`` (B, L) uint8."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What an objective is built from beside its config."""

    runtime: RuntimeConfig
    """Tells where runs and weight files lie."""
    device: torch.device
    labels: tuple[str, ...] = ()
    """Names of the student's outputs, in order."""
    weight: float | None = None
    """The weight that a beta search chose; None takes the config's own."""

    def teacher(self, weights: Weights) -> Teacher:
        """The teacher that ``weights`` names, frozen, on the device, in channels_last."""
        teacher = read_teacher(weights, self.runtime)
        teacher.network.to(self.device).to(memory_format=torch.channels_last)
        return teacher


@dataclass(frozen=True, eq=False)
class TransferObjective:
    """Cross-entropy plus ``weight`` times a loss between student and frozen teacher: the paper's equation (1).

    The teacher sees the student's own augmented images. It is no part of the student: it is not in the student's
    state dict, in the optimiser, or in what Accelerate prepares. A subclass has ``transfer_loss`` and its own fields.
    """

    teacher: Network
    weight: float

    @property
    def module(self) -> nn.Module | None:
        """Nothing is trained beside the student."""
        return None

    def transfer_loss(self, output: NetworkOutput, inputs: Tensor) -> Tensor:
        """Unweighted loss between the student's output and the teacher's on the same inputs: a float32 scalar."""
        raise NotImplementedError

    def teacher_planes(self, inputs: Tensor) -> Tensor:
        """Planes (B, 32, S/32, S/32) of the teacher, under the caller's autocast and only as deep as its tap."""
        with torch.inference_mode():
            planes = self.teacher.attention_planes(inputs)
        # A copy made outside: autograd may not save an inference tensor for the student's gradient.
        return planes.clone()

    def __call__(self, output: NetworkOutput, inputs: Tensor, targets: Tensor) -> Losses:
        """Both losses and their weighted sum.

        Without weight the sum is left out altogether, so that value and gradient are those of cross-entropy alone,
        bit for bit: even 0 * x changes the order of sums in a gradient, and is NaN where x is infinite.
        """
        cross_entropy = masked_cross_entropy(output.logits, targets)
        transfer = self.transfer_loss(output, inputs)
        total = cross_entropy if self.weight == 0.0 else cross_entropy + self.weight * transfer
        return Losses(total=total, cross_entropy=cross_entropy, attention=transfer.detach())


@dataclass(frozen=True, eq=False)
class PlaneObjective(TransferObjective):
    """Cross-entropy plus ``weight`` times a loss between the planes at both networks' attention taps."""

    loss: Callable[[Tensor, Tensor], Tensor]

    def transfer_loss(self, output: NetworkOutput, inputs: Tensor) -> Tensor:
        """The loss at the tap."""
        return self.loss(output.attention, self.teacher_planes(inputs))


def masked_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy with logits, mean over all entries that count; the first term of the paper's equation (1).

    ``logits`` (B, L) of any float type; ``targets`` (B, L) uint8: 0, 1, or 255 for an entry that does not count. No
    class weights. A batch in which no entry counts gives 0 with a gradient of 0. Float32 whatever autocast is on.

    Raises:
        ValueError: when the shapes differ.
    """
    if logits.shape != targets.shape:
        raise ValueError(f"logits of shape {tuple(logits.shape)}, targets of shape {tuple(targets.shape)}")
    ignored = targets == IGNORED
    with torch.autocast(logits.device.type, enabled=False):
        # Masked before and after: an ignored entry adds nothing to the sum and nothing to the gradient.
        entries = F.binary_cross_entropy_with_logits(
            logits.float().masked_fill(ignored, 0.0), targets.float().masked_fill(ignored, 0.0), reduction="none"
        )
        num_counted = (~ignored).sum().clamp_min(1)
        mean: Tensor = entries.masked_fill(ignored, 0.0).sum() / num_counted
        return mean


def plane_loss(
    loss: Callable[Concatenate[Tensor, Tensor, P], Tensor],
) -> Callable[Concatenate[Tensor, Tensor, P], Tensor]:
    """Make a loss of float32 planes one of student's and teacher's planes (B, C, H, W), whatever autocast is on.

    It raises ValueError unless both are planes of one shape: broadcasting would pair the wrong ones.
    """

    @wraps(loss)
    def checked(student: Tensor, teacher: Tensor, /, *options: P.args, **named: P.kwargs) -> Tensor:
        if student.ndim != 4 or student.shape != teacher.shape:
            raise ValueError(
                f"attention planes of shape {tuple(student.shape)} (student) and {tuple(teacher.shape)} (teacher); "
                "expected (B, C, H, W), the same for both"
            )
        with torch.autocast(student.device.type, enabled=False):
            return loss(student.float(), teacher.float(), *options, **named)

    return checked
