"""Forward and backward pass of a batch: operation by operation, as one CUDA graph, or compiled.

A DenseNet's training step is some 2,000 small kernels. Starting them one by one from Python takes longer than running
them; recorded once and started together they are the same kernels, in the same order, with the same results.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from datasets.sources.labels import IGNORED
from harness.devices.accelerator import Accelerator
from harness.devices.cuda_graph import GraphMemory, record
from harness.networks import Network, NetworkOutput
from harness.objectives import Losses, Objective
from harness.training.guards import BatchNormSnapshot


class ForwardBackward(Protocol):
    """What the training loop calls for each batch."""

    def __call__(self, inputs: Tensor, targets: Tensor, global_size: int) -> tuple[Tensor, Losses]:
        """Logits (B, L) and losses of this process's part of a step.

        Args:
            inputs: (B, 3, S, S), normalised, in channels_last.
            targets: (B, L) uint8, or soft ones in float32 (``harness.training.targets``).
            global_size: images of the step over all processes.
        """


@dataclass(frozen=True, kw_only=True)
class EagerForwardBackward:
    """Forward pass, losses and backward pass, operation by operation."""

    accelerator: Accelerator
    wrapped: nn.Module
    """The student as Accelerate prepared it."""
    objective: Objective
    average: Callable[[], None] | None = None
    """Averages gradients over processes, where ``wrapped`` does not."""

    def __call__(self, inputs: Tensor, targets: Tensor, global_size: int) -> tuple[Tensor, Losses]:
        """As ``ForwardBackward`` says."""
        accelerator = self.accelerator
        with accelerator.autocast():
            output = self.wrapped(inputs)
            losses = self.objective(output, inputs, targets)
        accelerator.backward(share_of_global_mean(accelerator, losses, targets, global_size))
        if self.average is not None:
            self.average()
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


class GraphedForwardBackward:
    """Runs batches of the given sizes, an epoch's whole ones and its last, each from a recording of ``eager``.

    For CUDA; over several processes NCCL's collectives are recorded too, by all processes at the same batch. Results
    are those of ``eager`` to the bit, and recording changes nothing.
    """

    def __init__(
        self,
        eager: ForwardBackward,
        modules: Sequence[nn.Module],
        sizes: Collection[int],
        memory: GraphMemory | None = None,
    ) -> None:
        """Set up to record ``eager``, which trains ``modules``, at the first batch of each of ``sizes``.

        Sizes are images over all processes: a process may have as many of a whole batch as of the last one.
        """
        self._eager = eager
        self._modules = tuple(modules)
        self._sizes = frozenset(sizes)
        self._recordings: dict[int, _Recording] = {}
        self._memory = memory or GraphMemory()

    def __call__(self, inputs: Tensor, targets: Tensor, global_size: int) -> tuple[Tensor, Losses]:
        """As ``ForwardBackward`` says; a parameter's gradient is overwritten, not added to.

        Raises:
            InputError: when recording fails; what it has taken of the device is not given back.
        """
        if global_size not in self._sizes:
            return self._eager(inputs, targets, global_size)
        if global_size not in self._recordings:
            step = partial(self._eager, global_size=global_size)
            self._recordings[global_size] = _Recording(step, self._modules, inputs, targets, self._memory)
        return self._recordings[global_size].replay(inputs, targets)


class _Recording:
    """A recorded step with the memory that it reads from and writes to."""

    def __init__(
        self,
        eager: Callable[[Tensor, Tensor], tuple[Tensor, Losses]],
        modules: Sequence[nn.Module],
        inputs: Tensor,
        targets: Tensor,
        memory: GraphMemory,
    ) -> None:
        self._inputs, self._targets = torch.empty_like(inputs).copy_(inputs), targets.clone()
        statistics = BatchNormSnapshot(*modules)

        def run() -> tuple[Tensor, Losses]:
            return eager(self._inputs, self._targets)

        def step() -> tuple[Tensor, Tensor, bool]:
            logits, losses = run()
            values = [losses.total, losses.cross_entropy, losses.attention]
            stacked = torch.stack([value.detach() for value in values if value is not None])
            return logits.detach(), stacked, losses.attention is not None

        def warm_up() -> None:
            """Run a step that leaves no trace."""
            run()
            for module in modules:
                module.zero_grad(set_to_none=True)
            statistics.restore()

        self._graph, recorded = record(step, warm_up=warm_up, memory=memory, what="the training step")
        self._logits, self._values, self._has_attention = recorded
        parameters = [parameter for module in modules for parameter in module.parameters()]
        self._gradients = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]

    def replay(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Losses]:
        """One step; what it returns is a copy, since the next step writes to the same memory."""
        self._inputs.copy_(inputs)
        self._targets.copy_(targets)
        self._graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        total, cross_entropy, *attention = self._values.clone().unbind()
        return self._logits.clone(), Losses(total, cross_entropy, attention[0] if self._has_attention else None)


CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


class CompiledNetwork(nn.Module):
    """Runs whole batches compiled, and all others, like the last one of an epoch, as they are.

    A batch of another size would be compiled anew, for minutes, to be of use once an epoch. The parameters are the
    network's own; its state dict stays the plain one, since it is the network that is saved.
    """

    def __init__(self, network: Network, batch_size: int) -> None:
        super().__init__()
        self.network = network
        self.batch_size = batch_size
        keep_compiled_code()
        # Else Inductor times kernels in each process and may choose one that adds in another order.
        torch._inductor.config.deterministic = True
        # In a tuple, so that it is no second submodule with the same parameters.
        self._compiled = (torch.compile(network, dynamic=False),)

    def forward(self, images: Tensor) -> NetworkOutput:
        """Logits and attention planes of (B, 3, S, S) images."""
        output: NetworkOutput
        if self.training and len(images) == self.batch_size:
            output = self._compiled[0](images)
        else:
            output = self.network(images)
        return output


def keep_compiled_code() -> None:
    """Let compiled code outlive this process, in the user's cache folder, unless its place is chosen already.

    By default PyTorch keeps it in a temporary folder, which a cluster's job has for itself.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen is None or _is_torchs_own(Path(chosen)):
        with suppress(RuntimeError):  # of a user without a home folder, for whom PyTorch's own place serves
            cache = Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache")
            os.environ[CACHE_VARIABLE] = str(cache / "cxr-harness" / "inductor")


def _is_torchs_own(folder: Path) -> bool:
    """Whether PyTorch set the variable: it does so as soon as its compiler is imported, as torchvision does."""
    return folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("torchinductor_")
