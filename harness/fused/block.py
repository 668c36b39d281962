"""A dense block in training: planes (B, C, H, W) come in; all planes, old and new, go out, and gradients back.

All layers read one buffer, to which each appends its new planes, so nothing is joined anew. The moments of a plane
are the same for every layer that normalises it and are taken once, as it is written. On the way back the gradients of
all layers are added up in one buffer: of a layer's d x = a g - k (x - mean) - m (``harness.fused.norm``) only a g
differs from pixel to pixel by more than the planes themselves do, so that k and m are summed up over layers and taken
off once, when the gradient of a plane is complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.fused.norm import (
    Rows,
    affine,
    corrections,
    dense,
    empty,
    gradient_sums,
    measure,
    normalise,
    normalised_gradient,
    settle,
)

PARAMETERS = ("norm1.weight", "norm1.bias", "conv1.weight", "norm2.weight", "norm2.bias", "conv2.weight")
"""Of a layer, in the order in which ``DenseBlock`` gives their gradients."""


@dataclass(frozen=True)
class Layer:
    """The modules of a dense layer: norm, ReLU, 1x1 convolution, norm, ReLU, 3x3 convolution."""

    norm1: nn.BatchNorm2d
    conv1: nn.Conv2d
    norm2: nn.BatchNorm2d
    conv2: nn.Conv2d

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Those that ``PARAMETERS`` names."""
        one, two = self.norm1, self.norm2
        return one.weight, one.bias, self.conv1.weight, two.weight, two.bias, self.conv2.weight


class DenseBlock(torch.autograd.Function):
    """All layers of a dense block in one node of the graph."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, layers: list[Layer], tap: int, *_: Tensor) -> tuple[Tensor, Tensor]:
        """All planes, and the new ones of layer ``tap``; the layers' parameters come last, for their gradients."""
        batch, channels, height, width = values.shape
        growth = layers[0].conv2.out_channels
        buffer = empty(values, (batch, channels + growth * len(layers), height, width))
        mean, variance = torch.empty((2, buffer.shape[1]), dtype=torch.float64)
        mean[:channels], variance[:channels] = measure(Rows.of(values), Rows(buffer, 0, channels))
        kept, tapped = [], values
        for number, layer in enumerate(layers):
            rows = Rows(buffer, 0, channels)
            by1 = affine(layer.norm1, mean[:channels], variance[:channels], rows.num)
            weight1, weight2 = (conv.weight.to(values.dtype) for conv in (layer.conv1, layer.conv2))
            input1 = normalise(rows, by1)
            middle = dense(F.conv2d(input1, weight1))
            by2 = affine(layer.norm2, *measure(Rows.of(middle)), rows.num)
            new = dense(F.conv2d(normalise(Rows.of(middle), by2), weight2, padding=1))
            end = channels + growth
            mean[channels:end], variance[channels:end] = measure(Rows.of(new), Rows(buffer, channels, growth))
            kept.append((by1, input1, weight1, middle, by2, weight2))
            channels = end
            if number == tap:
                tapped = new
        ctx.save_for_backward(buffer)
        ctx.kept, ctx.tap, ctx.mean, ctx.growth = kept, tap, mean, growth
        ctx.set_materialize_grads(False)
        return buffer, tapped

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, of_tapped: Tensor | None) -> tuple[Tensor | None, ...]:
        """Of the values and of every layer's parameters."""
        (buffer,) = ctx.saved_tensors
        mean, growth, channels = ctx.mean, ctx.growth, buffer.shape[1]
        # In float32: only once a plane's gradient is complete does its mean go, which may be most of it.
        total = empty(buffer, buffer.shape, torch.float32)
        total.zero_() if gradient is None else total.copy_(gradient)
        m, k = torch.zeros((2, channels), dtype=torch.float64)
        found: list[Tensor | None] = []
        for number in reversed(range(len(ctx.kept))):
            by1, input1, weight1, middle, by2, weight2 = ctx.kept[number]
            channels -= growth
            if gradient is None and number > ctx.tap:
                found[:0] = [None] * len(PARAMETERS)  # nothing behind the tap was asked for
                continue
            here = slice(channels, channels + growth)
            of_new = settle(
                Rows(total, channels, growth), Rows(buffer, channels, growth), mean[here], m[here], k[here]
            )
            if number == ctx.tap and of_tapped is not None:
                of_new += of_tapped
            rows, middles = Rows(buffer, 0, channels), Rows.of(middle)
            # The second convolution's input is made again: to keep it is a quarter of a block's memory.
            of_input2, of_weight2 = _back(of_new, normalise(middles, by2), weight2, padding=1)
            sums2, products2 = gradient_sums(of_input2, middles, by2)
            of_middle = normalised_gradient(of_input2, middles, by2, *corrections(by2, sums2, products2, rows.num))
            of_input1, of_weight1 = _back(of_middle, input1, weight1, padding=0)
            sums1, products1 = gradient_sums(of_input1, rows, by1, add_to=Rows(total, 0, channels))
            more_m, more_k = corrections(by1, sums1, products1, rows.num)
            m[:channels] += more_m
            k[:channels] += more_k
            of_norm1, of_norm2 = products1 * by1.factor, products2 * by2.factor
            of_layer = (of_norm1, sums1, of_weight1, of_norm2, sums2, of_weight2)
            found[:0] = [part.float() for part in of_layer]
            ctx.kept[number] = None
        back = None
        if ctx.needs_input_grad[0]:
            before = slice(0, channels)
            back = settle(Rows(total, 0, channels), Rows(buffer, 0, channels), mean[before], m[before], k[before])
        return back, None, None, *found


def _back(gradient: Tensor, inputs: Tensor, weight: Tensor, *, padding: int) -> tuple[Tensor, Tensor]:
    """Gradients of a convolution's input and weight."""
    sizes = ([1, 1], [padding, padding], [1, 1], False, [0, 0], 1)
    of_inputs, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient, inputs, weight, None, *sizes, [True, True, False]
    )
    return dense(of_inputs), of_weight
