"""Train a student over several processes: averaged gradients, by DistributedDataParallel or within a CUDA graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from harness.devices.accelerator import Accelerator
from harness.networks import Network
from harness.objectives import Objective
from harness.runs.runtime import RuntimeConfig
from harness.training.guards import BatchNormSnapshot

logger = logging.getLogger(__name__)
SMALL_SHARE = 16
"""Images of a step below which a GPU among several waits for its kernels to be started one by one."""
Average = Callable[[], None]
"""Averages gradients over processes, after a backward pass; a collective call."""


def not_recorded(accelerator: Accelerator, runtime: RuntimeConfig) -> str | None:
    """Why steps and validation are not recorded as CUDA graphs; None where they are."""
    if accelerator.device.type != "cuda":
        return "there is no GPU"
    if not runtime.cuda_graphs:
        return "--no-cuda-graphs"
    if torch.distributed.is_initialized() and torch.distributed.get_backend() != "nccl":
        return f"{torch.distributed.get_backend()} joins the processes, and only NCCL's messages can be recorded"
    return None


def prepared(
    accelerator: Accelerator,
    runtime: RuntimeConfig,
    student: nn.Module,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
) -> tuple[nn.Module, Any, Average | None]:
    """Student and optimiser as Accelerate prepares them, and what averages gradients if the student does not.

    Over several processes DistributedDataParallel wraps the student, but where steps are recorded.
    """
    why_not = not_recorded(accelerator, runtime)
    if why_not is None and torch.distributed.is_initialized():
        share_state(student)
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        flat = FlatGradients(trained, accelerator.num_processes)
        # What Accelerate calls evaluation mode is autocast alone, without the wrapper.
        student = accelerator.prepare_model(student, evaluation_mode=True)
        return student, accelerator.prepare(optimizer), flat.average
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda" and accelerator.is_main_process:
        logger.info(f"steps are not recorded as CUDA graphs: {why_not}")
    if objective.module is not None:
        average_gradients(objective.module, accelerator.num_processes)
    with warnings.catch_warnings():  # Accelerate has no handler for the argument that takes its place
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        student, optimizer = accelerator.prepare(student, optimizer)
    return student, optimizer, None


class FlatGradients:
    """The gradients of parameters, averaged over processes in one buffer by one all-reduce.

    A CUDA graph holds it as it is. DistributedDataParallel's hooks and streams are there to hide the reduction of
    gradients behind the rest of a backward pass; DenseNet-121 has 28 MB of them, a few hundred microseconds.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], num_processes: int) -> None:
        self._num_processes = num_processes
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        device = self._parameters[0].device
        self._flat = torch.zeros(sum(parameter.numel() for parameter in self._parameters), device=device)
        self._views, offset = [], 0
        for parameter in self._parameters:  # a view has its parameter's strides, as channels_last weights need
            self._views.append(self._flat.as_strided(parameter.shape, parameter.stride(), offset))
            offset += parameter.numel()

    def average(self) -> None:
        """Replace gradients by their means over all processes; a collective call.

        A parameter without a gradient, the same ones in every process, keeps none.
        """
        pairs = zip(self._parameters, self._views, strict=True)
        found = [(parameter, view, parameter.grad) for parameter, view in pairs if parameter.grad is not None]
        torch._foreach_copy_([view for _, view, _ in found], [gradient for *_, gradient in found])
        self._flat.mul_(1 / self._num_processes)  # before the sum, as DistributedDataParallel does
        torch.distributed.all_reduce(self._flat)
        for parameter, view, _ in found:
            parameter.grad = view


def share_state(module: nn.Module) -> None:
    """Give every process the weights and buffers of the first one; a collective call."""
    for value in module.state_dict().values():
        torch.distributed.broadcast(value, 0)


def warm_up_ddp_buckets(wrapped: nn.Module, network: Network, device: torch.device) -> None:
    """Make one backward pass that changes nothing, so that gradients add up in one order from the first step on.

    DistributedDataParallel orders its buckets anew after its first backward pass. A resumed run would then add in
    another order than the run that was never stopped: no matter for two numbers, but for three and more.
    """
    statistics = BatchNormSnapshot(network)
    wrapped.train()
    side = network.config.image_size or 64
    images = torch.zeros(2, 3, side, side, device=device).to(memory_format=torch.channels_last)
    wrapped(images).logits.sum().backward()
    network.zero_grad(set_to_none=True)
    statistics.restore()


def average_gradients(module: nn.Module, num_processes: int) -> None:
    """Average each gradient of ``module`` over processes as soon as it is accumulated.

    DistributedDataParallel does so for the student; an objective's few parameters need no wrapper of their own, which
    would run them under the student's autocast.
    """
    if num_processes == 1:
        return

    def average(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None, "called once the gradient is there"
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= num_processes

    for parameter in module.parameters():
        parameter.register_post_accumulate_grad_hook(average)  # type: ignore[no-untyped-call]


def warn_of_small_shares(share: int, num_processes: int) -> None:
    """Say when each of several GPUs gets so few images that starting kernels takes longer than running them."""
    if num_processes > 1 and share < SMALL_SHARE:
        logger.warning(
            f"each GPU gets {share} images of a step, and fewer than {SMALL_SHARE} do not fill one: {num_processes} "
            f"runs at once, each on a GPU of its own, use {num_processes} GPUs better than one run on all of them"
        )
