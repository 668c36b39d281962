"""Parts for inference alone: layers come in; parts that compute the same with fewer passes over memory go out.

In eval mode a batch norm is a fixed affine map a x + b per channel. Behind a convolution it becomes a part of that
convolution's weights. Before one it cannot, since a ReLU lies between; but for a > 0

    relu(a x + b) = a max(x, t) + b   with the threshold t = -b / a   (for a < 0 a min in the place of the max),

so that one clamp is left and both a and b move into the convolution that follows. The values of a dense block stay in
one buffer, which takes the place of a concatenation for each of its layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Clamped:
    """Batch norm, ReLU and what is linear behind them: a clamp by channel, then weights and a bias."""

    low: Tensor
    """(1, C, 1, 1)."""
    high: Tensor | None
    """The same; None where no factor is negative, so that there is no upper bound."""
    weight: Tensor
    bias: Tensor
    """float32, whatever the weights are."""

    def clamp(self, values: Tensor) -> Tensor:
        """(B, C, H, W), of which only the first part of a buffer's channels may be in use, as a dense copy."""
        # torch.clamp with both bounds takes longer than one after the other.
        found = torch.maximum(values, self.low)
        return found if self.high is None else torch.minimum(found, self.high, out=found)


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Factor and summand (C,) float64 of a batch norm in eval mode."""
    assert norm.running_mean is not None and norm.running_var is not None, "all norms here keep statistics"
    factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return factor, norm.bias.double() - norm.running_mean.double() * factor


def clamped(
    norm: nn.BatchNorm2d,
    linear: nn.Conv2d | nn.Linear,
    dtype: torch.dtype,
    behind: nn.BatchNorm2d | None = None,
) -> Clamped:
    """Fold ``norm``, its ReLU and the norm ``behind`` into a 1x1 convolution or a linear layer, in ``dtype``.

    The bias is chosen such that the result is exact, in spite of rounded weights and thresholds, where each channel
    is at its running mean, or switched off if its mean is.
    """
    weight = linear.weight.double()
    bias = weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.double()
    if behind is not None:
        weight, bias = into_convolution(weight, bias, behind)
    factor, summand = affine(norm)
    largest = torch.finfo(dtype).max
    threshold = torch.nan_to_num(-summand / factor).clamp(-largest, largest).to(dtype)
    low = torch.where(factor > 0, threshold, -largest)
    high = torch.where(factor < 0, threshold, largest)
    shape = (1, -1, *[1] * (weight.ndim - 2))
    folded = own(weight * factor.view(shape), dtype)
    assert norm.running_mean is not None
    usual = norm.running_mean.double().clamp(low.double(), high.double())
    wanted, got = F.relu(factor * usual + summand), usual
    bias = bias + (weight.flatten(1) @ wanted) - (folded.double().flatten(1) @ got)
    channels = (1, -1, 1, 1)
    bounded = bool((factor < 0).any())
    return Clamped(low.view(channels), high.view(channels) if bounded else None, folded, bias.float())


def into_convolution(weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weights (M, ...) and bias (M,), float64, of a convolution with the batch norm behind it."""
    factor, summand = affine(norm)
    return weight * factor.view(-1, *[1] * (weight.ndim - 1)), bias * factor + summand


def convolved(values: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, relu: bool = False) -> Tensor:
    """A convolution that keeps the size (but for its stride), and a ReLU in the same pass where the device can."""
    padding = weight.shape[-1] // 2
    if values.device.type == "cpu" and _has_onednn() and values.dtype != torch.float16:
        kind = "relu" if relu else "none"
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            values, weight, bias, [padding] * 2, [stride] * 2, [1, 1], 1, kind, [], ""
        )
        return found
    found = F.conv2d(values, weight, None if bias is None else bias.to(weight.dtype), stride, padding)
    return F.relu_(found) if relu else found


@cache
def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def own(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in the layout that convolutions are fastest in."""
    layout = torch.channels_last if weight.ndim == 4 else torch.contiguous_format
    return torch.empty_like(weight, dtype=dtype, memory_format=layout).copy_(weight)


class FoldedLayer:
    """One dense layer: (B, C, H, W) in, its 32 new planes out."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        self.first = clamped(_norm(layer, "norm1"), _conv(layer, "conv1"), dtype, _norm(layer, "norm2"))
        self.second = own(_conv(layer, "conv2").weight, dtype)

    def __call__(self, values: Tensor) -> Tensor:
        middle = convolved(self.first.clamp(values), self.first.weight, self.first.bias, relu=True)
        return convolved(middle, self.second, None)


class FoldedBlock:
    """A dense block: (B, C, H, W) in; all its planes and the last ones of each layer's 32 out."""

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        self.layers = [FoldedLayer(layer, dtype) for layer in block.children()]
        self.growth = self.layers[0].second.shape[0]

    def __call__(self, values: Tensor, num_layers: int | None = None) -> Tensor:
        """Planes after the first ``num_layers`` layers; None for all of them."""
        layers = self.layers[:num_layers]
        batch, channels, height, width = values.shape
        buffer = torch.empty(
            (batch, channels + self.growth * len(layers), height, width),
            dtype=values.dtype,
            device=values.device,
            memory_format=torch.channels_last,
        )
        buffer[:, :channels] = values
        for layer in layers:
            buffer[:, channels : channels + self.growth] = layer(buffer[:, :channels])
            channels += self.growth
        return buffer


class FoldedTransition:
    """Between two dense blocks. Pooling comes before the convolution: both are linear, so their order is free."""

    def __init__(self, transition: nn.Module, dtype: torch.dtype) -> None:
        self.part = clamped(_norm(transition, "norm"), _conv(transition, "conv"), dtype)

    def __call__(self, values: Tensor) -> Tensor:
        return convolved(F.avg_pool2d(self.part.clamp(values), 2), self.part.weight, self.part.bias)


class FoldedFeatures:
    """torchvision's DenseNet features from conv0 on, as many blocks as the network has."""

    def __init__(self, features: nn.Module, dtype: torch.dtype) -> None:
        stem = _conv(features, "conv0").weight.double()
        stem, bias = into_convolution(stem, stem.new_zeros(len(stem)), _norm(features, "norm0"))
        self.stem, self.stem_bias = own(stem, dtype), bias.float()
        self.parts: list[FoldedBlock | FoldedTransition] = []
        for name, child in features.named_children():
            if name.startswith("denseblock"):
                self.parts.append(FoldedBlock(child, dtype))
            elif name.startswith("transition"):
                self.parts.append(FoldedTransition(child, dtype))

    def before_last(self, images: Tensor) -> Tensor:
        """What enters the last block."""
        values = images.to(self.stem.dtype).contiguous(memory_format=torch.channels_last)
        values = convolved(values, self.stem, self.stem_bias, stride=2, relu=True)
        values = F.max_pool2d(values, kernel_size=3, stride=2, padding=1)
        for part in self.parts[:-1]:
            values = part(values)
        return values

    @property
    def last(self) -> FoldedBlock:
        found = self.parts[-1]
        assert isinstance(found, FoldedBlock), "the features of all networks here end with a block"
        return found


def _conv(module: nn.Module, name: str) -> nn.Conv2d:
    found = module.get_submodule(name)
    assert isinstance(found, nn.Conv2d)
    return found


def _norm(module: nn.Module, name: str) -> nn.BatchNorm2d:
    found = module.get_submodule(name)
    assert isinstance(found, nn.BatchNorm2d)
    return found
