"""A batch on the device comes in; its logits and losses go out, and every parameter has its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from datasets.sources.labels import IGNORED
from harness.devices.accelerator import Accelerator
from harness.objectives import Losses, Objective


class ForwardBackward(Protocol):
    """What the training loop calls for each batch."""

    def __call__(self, inputs: Tensor, targets: Tensor, global_size: int) -> tuple[Tensor, Losses]:
        """Logits (B, L) and losses of this process's part of a step.

        Args:
            inputs: (B, 3, S, S), normalised, in channels_last.
            targets: (B, L) uint8.
            global_size: images of the step over all processes.
        """


@dataclass(frozen=True, kw_only=True)
class EagerForwardBackward:
    """Forward pass, losses and backward pass, operation by operation."""

    accelerator: Accelerator
    wrapped: nn.Module
    """The student as Accelerate prepared it."""
    objective: Objective

    def __call__(self, inputs: Tensor, targets: Tensor, global_size: int) -> tuple[Tensor, Losses]:
        """As ``ForwardBackward`` says."""
        accelerator = self.accelerator
        with accelerator.autocast():
            output = self.wrapped(inputs)
            losses = self.objective(output, inputs, targets)
        accelerator.backward(share_of_global_mean(accelerator, losses, targets, global_size))
        return output.logits, losses


def share_of_global_mean(accelerator: Accelerator, losses: Losses, targets: Tensor, global_size: int) -> Tensor:
    """This process's loss, scaled so that the mean over processes is the loss of the whole global batch.

    Processes may hold unequal numbers of images, over which the attention loss is a mean, and of known targets, over
    which the cross-entropy is one.
    """
    if accelerator.num_processes == 1:
        return losses.total
    of_images = len(targets) * accelerator.num_processes / global_size
    known = (targets != IGNORED).sum()
    of_targets = known * accelerator.num_processes / accelerator.reduce(known, "sum").clamp_min(1)
    share: Tensor = losses.total * of_images + losses.cross_entropy * (of_targets - of_images)
    return share
