"""Define what objectives share: the losses of a batch, the call that makes them, and what they are built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Concatenate, NamedTuple, ParamSpec, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets.sources.labels import IGNORED
from harness.config import Weights
from harness.networks import ATTENTION_PLANES, Network, NetworkOutput
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
        """Losses of one batch: ``inputs`` (B, 3, S, S) as the network had them, ``targets`` (B, L) uint8.

        Under a config's ``[loss]`` targets may be soft: float32 in 0..1, or 255, as ``masked_cross_entropy`` takes
        them.
        """


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
    num_planes: int = ATTENTION_PLANES
    """Of the student, at its tap."""
    positive_weights: Tensor | None = None
    """(L,) weights of positives in the cross-entropy, on the device; None for 1 throughout."""

    def teacher(self, weights: Weights) -> Teacher:
        """The teacher that ``weights`` names, frozen, on the device, in channels_last."""
        teacher = read_teacher(weights, self.runtime)
        teacher.network.to(self.device).to(memory_format=torch.channels_last)
        return teacher

    def regressor(self, teacher: Network) -> nn.Conv2d:
        """A 1x1 convolution from the student's planes to the teacher's, on the device."""
        return build_regressor(self.num_planes, teacher.num_planes).to(self.device)


def build_regressor(num_planes: int = ATTENTION_PLANES, num_taught: int | None = None) -> nn.Conv2d:
    """A 1x1 convolution that starts as the identity: planes of student and teacher pair by index before training.

    Of unequal numbers, ``num_planes`` of the student and ``num_taught`` of the teacher, the first ones pair, and what
    is left of the teacher's starts at 0. It draws no random number, so that a run's other random numbers are those of
    any other objective.
    """
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights that are overwritten
        regressor = nn.Conv2d(num_planes, num_taught or num_planes, kernel_size=1)
    nn.init.dirac_(regressor.weight)
    nn.init.zeros_(regressor.bias)  # type: ignore[arg-type]
    return regressor


@dataclass(frozen=True, eq=False)
class TransferObjective:
    """Cross-entropy plus ``weight`` times a loss between student and frozen teacher: the paper's equation (1).

    The teacher sees the student's own augmented images. It is no part of the student: it is not in the student's
    state dict, in the optimiser, or in what Accelerate prepares. A subclass has ``transfer_loss`` and its own fields.
    """

    teacher: Network
    weight: float
    positive_weights: Tensor | None = field(default=None, kw_only=True)
    """Set by ``build_objective``."""

    @property
    def module(self) -> nn.Module | None:
        """Nothing is trained beside the student."""
        return None

    def transfer_loss(self, output: NetworkOutput, inputs: Tensor) -> Tensor:
        """Unweighted loss between the student's output and the teacher's on the same inputs: a float32 scalar."""
        raise NotImplementedError

    def teacher_planes(self, inputs: Tensor) -> Tensor:
        """Planes (B, C, H, W) of the teacher, under the caller's autocast and only as deep as its tap."""
        with torch.inference_mode():
            planes = self.teacher.attention_planes(inputs)
        # A copy made outside: autograd may not save an inference tensor for the student's gradient.
        return planes.clone()

    def __call__(self, output: NetworkOutput, inputs: Tensor, targets: Tensor) -> Losses:
        """Both losses and their weighted sum.

        Without weight the sum is left out altogether, so that value and gradient are those of cross-entropy alone,
        bit for bit: even 0 * x changes the order of sums in a gradient, and is NaN where x is infinite.
        """
        cross_entropy = masked_cross_entropy(output.logits, targets, self.positive_weights)
        transfer = self.transfer_loss(output, inputs)
        total = cross_entropy if self.weight == 0.0 else cross_entropy + self.weight * transfer
        return Losses(total=total, cross_entropy=cross_entropy, attention=transfer.detach())


@dataclass(frozen=True, eq=False)
class PlaneObjective(TransferObjective):
    """Cross-entropy plus ``weight`` times a loss between the planes at both networks' attention taps."""

    loss: Callable[[Tensor, Tensor], Tensor]
    regressor: nn.Conv2d | None = None
    """Takes the student's planes to the teacher's number before they are compared, and is trained."""

    @property
    def module(self) -> nn.Module | None:
        """The regressor; without weight it has no gradient and is not trained."""
        return None if self.weight == 0.0 else self.regressor

    def transfer_loss(self, output: NetworkOutput, inputs: Tensor) -> Tensor:
        """The loss at the tap."""
        student, teacher = output.attention, self.teacher_planes(inputs)
        if self.regressor is not None:
            student, teacher = projected(student, teacher, self.regressor)
        return self.loss(student, teacher)


def projected(student: Tensor, teacher: Tensor, regressor: nn.Module) -> tuple[Tensor, Tensor]:
    """The student's planes through ``regressor``, and the teacher's, both float32 and of the smaller size."""
    with torch.autocast(student.device.type, enabled=False):
        return same_size(regressor(student.float()), teacher.float())


def same_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Planes (..., H, W) of both at the smaller of their sizes: the larger ones are averaged over areas."""
    height, width = (min(sizes) for sizes in zip(first.shape[-2:], second.shape[-2:], strict=True))
    return _averaged(first, height, width), _averaged(second, height, width)


def _averaged(planes: Tensor, height: int, width: int) -> Tensor:
    """Adaptive average pooling as two products of matrices, whose gradient on CUDA adds in a fixed order."""
    if planes.shape[-2:] == (height, width):
        return planes
    rows, columns = (
        F.adaptive_avg_pool1d(torch.eye(before, dtype=planes.dtype, device=planes.device), after)
        for before, after in zip(planes.shape[-2:], (height, width), strict=True)
    )
    return rows.T @ planes @ columns


def masked_cross_entropy(logits: Tensor, targets: Tensor, positive_weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy with logits, mean over all entries that count; the first term of the paper's equation (1).

    ``logits`` (B, L) of any float type; ``targets`` (B, L) uint8: 0, 1, or 255 for an entry that does not count; or
    float32 in 0..1, or 255. ``positive_weights`` (L,) multiply the term of the positives; None for no class weights.
    A batch in which no entry counts gives 0 with a gradient of 0. Float32 whatever autocast is on.

    Raises:
        ValueError: when the shapes differ.
    """
    if logits.shape != targets.shape:
        raise ValueError(f"logits of shape {tuple(logits.shape)}, targets of shape {tuple(targets.shape)}")
    ignored = targets == IGNORED
    with torch.autocast(logits.device.type, enabled=False):
        # Masked before and after: an ignored entry adds nothing to the sum and nothing to the gradient.
        entries = F.binary_cross_entropy_with_logits(
            logits.float().masked_fill(ignored, 0.0),
            targets.float().masked_fill(ignored, 0.0),
            pos_weight=positive_weights,
            reduction="none",
        )
        num_counted = (~ignored).sum().clamp_min(1)
        mean: Tensor = entries.masked_fill(ignored, 0.0).sum() / num_counted
        return mean


def plane_loss(
    loss: Callable[Concatenate[Tensor, Tensor, P], Tensor],
) -> Callable[Concatenate[Tensor, Tensor, P], Tensor]:
    """Make a loss of float32 planes one of student's and teacher's planes (B, C, H, W), whatever autocast is on.

    It raises ValueError unless both are planes of the same images.
    """

    @wraps(loss)
    def checked(student: Tensor, teacher: Tensor, /, *options: P.args, **named: P.kwargs) -> Tensor:
        if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher):
            raise ValueError(_shapes(student, teacher, "of as many images"))
        with torch.autocast(student.device.type, enabled=False):
            return loss(student.float(), teacher.float(), *options, **named)

    return checked


def check_paired(student: Tensor, teacher: Tensor) -> None:
    """Raise ValueError unless both are planes of one shape: broadcasting would pair the wrong ones."""
    if student.shape != teacher.shape:
        raise ValueError(_shapes(student, teacher, "the same for both"))


def _shapes(student: Tensor, teacher: Tensor, expected: str) -> str:
    shapes = f"{tuple(student.shape)} (student) and {tuple(teacher.shape)} (teacher)"
    return f"attention planes of shape {shapes}; expected (B, C, H, W), {expected}"
