"""Adam for a run: parameters come in; the optimiser in the form that is fastest here goes out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def build_adam(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Adam:
    """Adam with PyTorch's default moments, no weight decay, and all of a parameter's update in one kernel.

    The fused form exists for float parameters on the CPU and on CUDA, which is where networks are trained here. It
    has the same state as the plain form and rounds otherwise than it, but always the same way.
    """
    return torch.optim.Adam(parameters, lr=learning_rate, fused=True)
