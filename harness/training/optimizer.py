"""The optimiser of a run, and one optimiser step that clamps, steps and can leave a step out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from harness.config import Schedule
from harness.config.schedule import WEIGHT_DECAY
from harness.devices.accelerator import Accelerator
from harness.runs.runtime import RuntimeConfig
from harness.training.guards import BatchNormSnapshot, gradients_are_finite


def build_optimizer(parameters: Iterable[nn.Parameter], schedule: Schedule) -> torch.optim.Optimizer:
    """The schedule's optimiser with PyTorch's default moments, and all of a parameter's update in one kernel.

    The fused forms exist for float parameters on the CPU and on CUDA, which is where networks are trained here. They
    have the same state as the plain forms and round otherwise than they do, but always the same way.
    """
    rate, decay = schedule.learning_rate, schedule.weight_decay
    if decay is None:
        decay = WEIGHT_DECAY[schedule.optimizer]
    if schedule.optimizer == "sgd":
        momentum = 0.9 if schedule.momentum is None else schedule.momentum
        return torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay, fused=True)
    kind = torch.optim.AdamW if schedule.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=rate, weight_decay=decay, fused=True)


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """Which batches of an epoch make an optimiser step together."""

    sizes: list[int]
    """Images of each batch over all processes."""
    accumulate: int
    """Batches of a step; the last one may have fewer."""

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the epoch."""
        return -(-len(self.sizes) // self.accumulate)

    def share(self, batch: int) -> float:
        """A batch's part of the images of its step."""
        first = batch // self.accumulate * self.accumulate
        return self.sizes[batch] / sum(self.sizes[first : first + self.accumulate])

    def ends_step(self, batch: int) -> bool:
        """Whether it is the last batch of its step."""
        return (batch + 1) % self.accumulate == 0 or batch + 1 == len(self.sizes)


class OptimizerStep:
    """Clamps, steps and clears the gradients; when asked, leaves out a step whose gradients are not finite."""

    def __init__(
        self,
        accelerator: Accelerator,
        optimizer: Any,
        network: nn.Module,
        clip_value: float | None,
        runtime: RuntimeConfig,
    ) -> None:
        self.skips = runtime.on_nonfinite == "skip"
        """Whether steps are left out; it costs one wait for the device at each step."""
        self._accelerator = accelerator
        self._optimizer = optimizer
        self._clip_value = clip_value
        self._sums: list[tuple[nn.Parameter, torch.Tensor]] = []
        self._statistics = BatchNormSnapshot(network) if self.skips else None

    @property
    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]

    def add(self, share: float) -> None:
        """Put the gradients of a part of the step aside, weighed by its ``share`` of the step's images.

        Beside the gradients, since a recorded step overwrites them.
        """
        found = [(parameter, parameter.grad) for parameter in self._parameters if parameter.grad is not None]
        gradients = [gradient for _, gradient in found]
        if self._sums:
            torch._foreach_add_([total for _, total in self._sums], gradients, alpha=share)
        else:
            totals = torch._foreach_mul(gradients, share)
            self._sums = [(parameter, total) for (parameter, _), total in zip(found, totals, strict=True)]
        self._optimizer.zero_grad(set_to_none=True)

    def __call__(self) -> bool | Tensor:
        """Make the step; True when it was left out. Without ``skips``, fp16's is a () bool of the device."""
        optimizer, scaler, parameters = self._optimizer, self._accelerator.scaler, self._parameters
        for parameter, total in self._sums:
            parameter.grad = total
        self._sums = []
        # Asked before infinities are clamped; a scaler asks by itself.
        left_out: bool | Tensor = self.skips and scaler is None and not gradients_are_finite(parameters)
        if not left_out:
            if self._clip_value is not None:
                self._accelerator.clip_grad_value_(parameters, self._clip_value)
            scale = None if scaler is None else scaler._get_scale_async().clone()
            optimizer.step()
            if scale is not None:
                # A scaler that leaves a step out lowers its scale. Accelerate's step_was_skipped does not see it in
                # fused Adam, which is called all the same.
                left_out = scaler._get_scale_async() < scale
        if self._statistics is not None:
            left_out = bool(left_out)
            if left_out:
                self._statistics.restore()
            else:
                self._statistics.note()
        optimizer.zero_grad(set_to_none=True)
        return left_out


def follow(averaged: AveragedModel, network: nn.Module, left_out: bool | Tensor) -> None:
    """Take a step's weights into the average, unless the step was ``left_out``; () bool of the device for fp16.

    The device is waited for until the first step that was made, whose weights are taken over whole.
    """
    if averaged.n_averaged == 0:
        if not left_out:
            averaged.update_parameters(network)
    elif isinstance(left_out, Tensor):
        before = [value.clone() for value in averaged.module.state_dict().values()]
        _average(averaged, network)
        for value, kept in zip(averaged.module.state_dict().values(), before, strict=True):
            value.copy_(torch.where(left_out, kept, value))
    elif not left_out:
        _average(averaged, network)


def _average(averaged: AveragedModel, network: nn.Module) -> None:
    """``update_parameters`` of a later step, without its copy of the count to the device, which would wait."""
    multi_average: Any = averaged.multi_avg_fn
    ours, theirs = ([*module.parameters(), *module.buffers()] for module in (averaged.module, network))
    for is_float in (True, False):
        pairs = [pair for pair in zip(ours, theirs, strict=True) if pair[0].is_floating_point() is is_float]
        if pairs:
            multi_average(*map(list, zip(*pairs, strict=True)), averaged.n_averaged)
    averaged.n_averaged += 1
