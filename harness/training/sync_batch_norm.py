"""Synchronise batch norm over all processes, by one way on the CPU and on GPUs.

torch's own SyncBatchNorm trains on GPUs alone. Weights, their names and the running statistics stay as they are.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from harness.networks import Network


def synchronised(network: Network, num_processes: int) -> Network:
    """The network itself, every batch norm in it normalising by the statistics of the whole global batch."""
    for name, module in list(network.named_modules()) if num_processes > 1 else ():
        if isinstance(module, nn.BatchNorm2d):
            owner, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(owner), attribute, SyncBatchNorm2d.of(module))
    return network


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of planes (B, C, H, W) whose training statistics are those of all processes' shares together."""

    @classmethod
    def of(cls, plain: nn.BatchNorm2d) -> SyncBatchNorm2d:
        """A synchronised batch norm with the parameters, statistics and mode of ``plain``."""
        made = cls(plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats)
        made.weight, made.bias = plain.weight, plain.bias
        made.running_mean, made.running_var = plain.running_mean, plain.running_var
        made.num_batches_tracked = plain.num_batches_tracked
        return made.train(plain.training)

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
