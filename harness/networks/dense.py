"""torchvision's dense blocks and transitions for training: planes (B, C, H, W) come in; planes go out.

The modules and their names are torchvision's; what differs is the order in which they run, not what they compute.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.fused import entry as fused
from harness.networks.pooling import average_pool


def features(modules: nn.Sequential, images: Tensor, *, before: str) -> Tensor:
    """Run torchvision's DenseNet features on images up to the module of that name, which is not run."""
    values = images
    for name, module in modules.named_children():
        if name == before:
            break
        if name.startswith("denseblock"):
            values, _ = dense_block(module, values)
        elif name.startswith("transition"):
            values = transition(module, values)
        elif name == "norm0":
            values = norm_relu(module, values)
        elif name != "relu0":
            values = module(values)
    return values


def dense_block(block: nn.Module, values: Tensor, *, tap: str = "") -> tuple[Tensor, Tensor]:
    """All planes of a dense block, and the 32 new ones of its layer ``tap`` (of its last layer without a name).

    What a layer adds is appended to all that was there before. torchvision joins all parts anew for each layer: the
    same values, but their gradients are then added up in hundreds of small slices.
    """
    if block.training and values.device.type == "cpu" and fused.AVAILABLE:
        found: tuple[Tensor, Tensor] | None = fused.dense_block(block, values, tap)
        if found is not None:
            return found
    tapped = new = values
    for name, layer in block.named_children():
        new = dense_layer(layer, values)
        values = torch.cat([values, new], 1)
        if name == tap:
            tapped = new
    return values, tapped if tap else new


def dense_layer(layer: nn.Module, values: Tensor) -> Tensor:
    """The 32 new planes of one layer."""
    for name in ("norm1", "relu1", "conv1", "norm2", "relu2", "conv2"):
        values = layer.get_submodule(name)(values)
    return values


def norm_relu(norm: nn.Module, values: Tensor) -> Tensor:
    """Batch norm, then ReLU."""
    if norm.training and values.device.type == "cpu" and fused.AVAILABLE:
        found: Tensor | None = fused.norm_relu(norm, values)
        if found is not None:
            return found
    # In place as in torchvision: the norm's gradient needs its input, not its output.
    return F.relu(norm(values), inplace=True)


def transition(module: nn.Module, values: Tensor) -> Tensor:
    """Half the planes at half the size. Pooling comes first: both it and the 1x1 convolution are linear, so their
    order is free, and the convolution has a quarter of the work.
    """
    values = norm_relu(module.get_submodule("norm"), values)
    planes: Tensor = module.get_submodule("conv")(average_pool(values, 2))
    return planes
