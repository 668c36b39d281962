"""Batch norm and ReLU in training: values (B, C, H, W) in channels_last come in; the same in fewer passes go out.

With factor f = 1 / sqrt(variance + eps) the normalised value is (x - mean) f, and the result max(a x + b, 0) with
a = weight f and b = bias - mean a. With g, the gradient where the ReLU is open, over N = B H W pixels,

    d bias = sum g    d weight = f sum g (x - mean)    d x = a g - k (x - mean) - m
    m = a sum g / N   k = a f^2 sum g (x - mean) / N

(Ioffe and Szegedy 2015, section 3, put together with the ReLU behind it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.fused import kernels, openmp

KINDS = {torch.float32: np.float32, torch.bfloat16: np.uint16}
"""What the kernels call the numbers that they know."""


@dataclass(frozen=True)
class Rows:
    """Channels of channels_last memory, a row for each pixel."""

    tensor: Tensor
    """(B, C', H, W), of which these are the channels ``first`` to ``first + columns``."""
    first: int
    columns: int

    @classmethod
    def of(cls, tensor: Tensor) -> Rows:
        """All channels."""
        return cls(tensor, 0, tensor.shape[1])

    @property
    def num(self) -> int:
        """Pixels of all images."""
        return self.tensor.numel() // self.tensor.shape[1]

    @property
    def apart(self) -> int:
        """Numbers from row to row."""
        return self.tensor.shape[1]

    @property
    def address(self) -> int:
        """Of the first number."""
        return self.tensor.data_ptr() + self.first * self.tensor.element_size()

    def empty_like(self) -> Tensor:
        """A tensor of as many channels, without gaps."""
        batch, _, height, width = self.tensor.shape
        return empty(self.tensor, (batch, self.columns, height, width))


@dataclass(frozen=True)
class Affine:
    """What a batch norm does to a batch: a x + b; (C,) each."""

    a: Tensor
    b: Tensor
    mean: Tensor
    factor: Tensor
    """1 / sqrt(variance + eps), float64; the others are float32."""


def empty(like: Tensor, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of that shape in channels_last."""
    return torch.empty(shape, dtype=dtype or like.dtype, memory_format=torch.channels_last)


def measure(rows: Rows, copy: Rows | None = None) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel over all pixels, float64; the rows are copied on the way if asked for."""
    found, counts = _by_chunk(rows)
    target = (0, 0) if copy is None else (copy.address, copy.apart)
    _run(kernels.measure, rows, rows.address, rows.apart, found.data_ptr(), *target)
    means, squares = found[:, 0].double(), found[:, 1].double()
    mean = (means * counts).sum(0) / rows.num
    return mean, (squares + (means - mean).square() * counts).sum(0) / rows.num


def affine(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, num: int) -> Affine:
    """What the norm does to ``num`` pixels of these moments, which go into its running statistics."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
    norm.running_mean.lerp_(mean.float(), norm.momentum)
    norm.running_var.lerp_((variance * (num / (num - 1))).float(), norm.momentum)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    factor = (variance + norm.eps).rsqrt()
    a = norm.weight.double() * factor
    return Affine(a.float(), (norm.bias.double() - mean * a).float(), mean.float(), factor)


def normalise(rows: Rows, by: Affine) -> Tensor:
    """max(a x + b, 0)."""
    out = rows.empty_like()
    _run(kernels.normalise, rows, rows.address, rows.apart, by.a.data_ptr(), by.b.data_ptr(), out.data_ptr())
    return out


def gradient_sums(gradient: Tensor, rows: Rows, by: Affine, add_to: Rows | None = None) -> tuple[Tensor, Tensor]:
    """Sums of g and of g (x - mean), float64; a g is added to ``add_to``, which is float32."""
    found, _ = _by_chunk(rows)
    target = (0, 0) if add_to is None else (add_to.address, add_to.apart)
    arguments = (gradient.data_ptr(), rows.address, rows.apart, by.a.data_ptr(), by.b.data_ptr(), by.mean.data_ptr())
    _run(kernels.add_up_gradient, rows, *arguments, found.data_ptr(), *target)
    total = found.double().sum(0)
    return total[0], total[1]


def corrections(by: Affine, sums: Tensor, products: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """m and k, float64."""
    a = by.a.double() / num
    return a * sums, a * by.factor.square() * products


def normalised_gradient(gradient: Tensor, rows: Rows, by: Affine, m: Tensor, k: Tensor) -> Tensor:
    """d x."""
    out, m, k = rows.empty_like(), m.float(), k.float()
    arguments = (gradient.data_ptr(), rows.address, rows.apart, by.a.data_ptr(), by.b.data_ptr(), by.mean.data_ptr())
    _run(kernels.normalised_gradient, rows, *arguments, m.data_ptr(), k.data_ptr(), out.data_ptr())
    return out


def settle(total: Rows, rows: Rows, mean: Tensor, m: Tensor, k: Tensor) -> Tensor:
    """G - k (x - mean) - m of float32 gradients and values in buffers of one shape."""
    assert total.apart == rows.apart, "one shape"
    out, mean, m, k = rows.empty_like(), mean.float(), m.float(), k.float()
    arguments = (total.address, rows.address, rows.apart, mean.data_ptr(), m.data_ptr(), k.data_ptr())
    _run(kernels.settle, rows, *arguments, out.data_ptr())
    return out


class NormRelu(torch.autograd.Function):
    """Batch norm in training mode and the ReLU behind it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        """``weight`` and ``bias`` are the norm's own, named so that they get gradients."""
        rows = Rows.of(values)
        by = affine(norm, *measure(rows), rows.num)
        ctx.save_for_backward(values)
        ctx.by = by
        return normalise(rows, by)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        """Of values, weight and bias."""
        (values,) = ctx.saved_tensors
        rows, by = Rows.of(values), ctx.by
        gradient = dense(gradient)
        sums, products = gradient_sums(gradient, rows, by)
        back = None
        if ctx.needs_input_grad[0]:
            back = normalised_gradient(gradient, rows, by, *corrections(by, sums, products, rows.num))
        return back, (products * by.factor).float(), sums.float(), None


def dense(values: Tensor) -> Tensor:
    """The same values in channels_last without gaps, at the strides that go with it."""
    return values.contiguous(memory_format=torch.channels_last)


def _by_chunk(rows: Rows) -> tuple[Tensor, Tensor]:
    """Memory for what a kernel leaves by chunk, (chunks, 2, C) float32, and the rows of each, (chunks, 1) float64."""
    size = kernels.chunk_rows(rows.columns)
    chunks = -(-rows.num // size)
    counts = torch.full((chunks, 1), float(size), dtype=torch.float64)
    counts[-1] = rows.num - size * (chunks - 1)
    return torch.empty((chunks, 2, rows.columns), dtype=torch.float32), counts


def _run(kernel: Any, rows: Rows, *arguments: int) -> None:
    code, _ = kernels.address(kernel, KINDS[rows.tensor.dtype])
    size = kernels.chunk_rows(rows.columns)
    openmp.run(
        code, np.array([0, size, rows.num, rows.columns, rows.tensor.element_size(), *arguments], dtype=np.int64)
    )
