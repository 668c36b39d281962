"""Where the fused parts are used: modules and values come in; their results go out, or None where they do not fit.

They fit float32 and bfloat16 on a CPU whose threads are GNU OpenMP's, and batch norms in training mode. torch.compile
leaves them as they are: they take fewer passes over memory than the loops that it would write.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.fused import openmp

AVAILABLE = openmp.is_available()


@torch.compiler.disable  # type: ignore[untyped-decorator]
def dense_block(block: nn.Module, values: Tensor, tap: str = "") -> tuple[Tensor, Tensor] | None:
    """All planes of torchvision's dense block and the new ones of its layer ``tap`` (of its last without a name)."""
    dtype = _dtype(values)
    names, modules = zip(*block.named_children(), strict=True)
    fitting = dtype is not None and all(
        _fits(norm, values) for layer in modules for norm in (layer.norm1, layer.norm2)
    )
    if not fitting:
        return None
    from harness.fused.block import DenseBlock, Layer
    from harness.fused.norm import dense

    layers = [Layer(layer.norm1, layer.conv1, layer.norm2, layer.conv2) for layer in modules]
    parameters = [parameter for layer in layers for parameter in layer.parameters]
    number = names.index(tap) if tap else len(names) - 1
    planes, tapped = DenseBlock.apply(dense(values.to(dtype)), layers, number, *parameters)
    return planes, tapped


@torch.compiler.disable  # type: ignore[untyped-decorator]
def norm_relu(norm: nn.Module, values: Tensor) -> Tensor | None:
    """Batch norm, then ReLU."""
    dtype = _dtype(values)
    if dtype is None or not _fits(norm, values):
        return None
    from harness.fused.norm import NormRelu, dense

    found: Tensor = NormRelu.apply(dense(values.to(dtype)), norm.weight, norm.bias, norm)
    return found


def _dtype(values: Tensor) -> torch.dtype | None:
    """What convolutions compute in at this place, if the kernels know it."""
    wanted = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else values.dtype
    return wanted if wanted in (torch.float32, torch.bfloat16) else None


def _fits(norm: nn.Module, values: Tensor) -> bool:
    """Whether a norm takes the moments of this process's batch, and keeps running ones in the usual way."""
    usual = type(norm) is nn.BatchNorm2d and norm.training and norm.affine and norm.track_running_stats
    several = values.shape[0] * values.shape[2] * values.shape[3] > 1
    return usual and norm.momentum is not None and several
