"""The optimiser of a run, and one optimiser step that clamps, steps and can leave a step out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

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
        self._statistics = BatchNormSnapshot(network) if self.skips else None

    def __call__(self) -> bool | Tensor:
        """Make the step; True when it was left out. Without ``skips``, fp16's is a () bool of the device."""
        optimizer, scaler = self._optimizer, self._accelerator.scaler
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
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
