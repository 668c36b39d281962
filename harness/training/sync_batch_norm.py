"""Synchronise batch norm over all processes, by one way on the CPU and on GPUs.

torch's own SyncBatchNorm trains on GPUs alone. Weights, their names and the running statistics stay as they are.
"""

from __future__ import annotations

from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

from datasets.errors import InputError

Module = TypeVar("Module", bound=nn.Module)
TIMMS_OWN = "BatchNormAct2d"
"""Name of timm's batch norm; its class is not imported, since timm need not be there."""


def synchronised(network: Module, num_processes: int) -> Module:
    """The network itself, every batch norm in it normalising by the statistics of the whole global batch.

    Raises:
        InputError: when it has a batch norm of another kind, or none.
    """
    kinds = {type(module) for module in network.modules() if isinstance(module, _BatchNorm)}
    others = [kind.__name__ for kind in kinds if kind is not nn.BatchNorm2d and kind.__name__ != TIMMS_OWN]
    if others or not kinds:
        found = f"a {min(others)}, which is not synchronised" if others else "no batch norm"
        raise InputError(f"network.sync_bn = true: the network has {found}; leave it out")
    for module in network.modules() if num_processes > 1 else ():
        if isinstance(module, nn.BatchNorm2d):
            own = type(module).__name__ == TIMMS_OWN
            module.__class__ = SyncBatchNormAct2d if own else SyncBatchNorm2d  # which has the same state
    return network


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of planes (B, C, H, W) whose training statistics are those of all processes' shares together."""

    def forward(self, input: Tensor) -> Tensor:
        """As in PyTorch; in training mode a collective call."""
        if not self.training:
            return super().forward(input)
        mean, variance, count = _global_moments(input)
        self._track(mean.detach(), variance.detach() * (count / (count - 1)).float())
        scale = (variance + self.eps).rsqrt() * self.weight
        shift = self.bias - mean * scale
        planes = input.float() * scale[:, None, None] + shift[:, None, None]
        return planes.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class SyncBatchNormAct2d(SyncBatchNorm2d):
    """The same for timm's batch norm, which applies an activation as well."""

    def forward(self, input: Tensor) -> Tensor:
        """As in timm; in training mode a collective call."""
        planes: Tensor = self.get_submodule("act")(self.get_submodule("drop")(super().forward(input)))
        return planes


def _global_moments(planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance (C,) float32 over all processes' planes, and the number of values behind them."""
    with torch.autocast(planes.device.type, enabled=False):
        values = planes.float()
        mean = values.mean((0, 2, 3))
        # Sums of squares in float64: their difference to the squared mean would lose digits in float32.
        mean64, variance64 = mean.double(), values.var((0, 2, 3), unbiased=False).double()
        count = planes.numel() // planes.shape[1]
        sums = torch.stack([mean64 * count, (variance64 + mean64.square()) * count, torch.full_like(mean64, count)])
        total, squares, counts = cast(Tensor, all_reduce(sums))  # type: ignore[no-untyped-call]
        mean64 = total / counts
        variance64 = squares / counts - mean64.square()
        return mean64.float(), variance64.clamp_min(0).float(), counts[0]
