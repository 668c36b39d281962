"""Whole networks for inference: a network comes in; one with the same outputs, its batch norms folded, goes out."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.networks.densenet40 import POOL_SIZE, DenseNet40
from harness.networks.densenet121 import TAP, DenseNet121
from harness.networks.folded import FoldedFeatures, clamped, convolved, into_convolution, own
from harness.networks.output import Network, NetworkOutput


class InferenceNetwork(Network):
    """A network in eval mode for forward passes without gradients, with the weights that ``source`` has at its first.

    Under autocast it computes in autocast's type, with weights that are cast once; its logits are always float32.
    Without it, it computes in float32. Outputs are those of the network it copies to rounding.
    """

    def __init__(self, source: Network) -> None:
        super().__init__(source.config)
        self._source = (source,)  # a tuple, so that it is no submodule: this network has no parameters of its own
        self._bodies: dict[torch.dtype, _Body] = {}
        self.eval()

    def forward(self, images: Tensor) -> NetworkOutput:
        """Logits (B, L) float32 and attention planes (B, 32, S/32, S/32) of (B, 3, S, S) normalised images."""
        body = self._body(self._dtype(images.device))
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return body.output(images)

    def attention_planes(self, images: Tensor) -> Tensor:
        """Attention planes alone; layers behind the tap are not run."""
        body = self._body(self._dtype(images.device))
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return body.attention_planes(images)

    def _body(self, dtype: torch.dtype) -> _Body:
        if dtype not in self._bodies:
            with torch.no_grad():
                self._bodies[dtype] = _make_body(self._source[0], dtype)
        return self._bodies[dtype]

    @staticmethod
    def _dtype(device: torch.device) -> torch.dtype:
        enabled = torch.is_autocast_enabled(device.type)
        return torch.get_autocast_dtype(device.type) if enabled else torch.float32


class _Body(ABC):
    """The folded weights of one network in one type."""

    @abstractmethod
    def output(self, images: Tensor) -> NetworkOutput: ...

    @abstractmethod
    def attention_planes(self, images: Tensor) -> Tensor: ...


class _Body121(_Body):
    def __init__(self, source: DenseNet121, dtype: torch.dtype) -> None:
        self.to_range = source.to_range
        self.features = FoldedFeatures(source.features, dtype)
        block = source.features.get_submodule("denseblock4")
        self.through_tap = [name for name, _ in block.named_children()].index(TAP) + 1
        # float32: the head is small, and its input a mean over pixels.
        self.head = clamped(source.norm5, source.classifier, torch.float32)

    def output(self, images: Tensor) -> NetworkOutput:
        block = self.features.last
        planes = block(self.features.before_last(self.to_range(images)))
        first = planes.shape[1] - block.growth * (len(block.layers) - self.through_tap + 1)
        attention = planes[:, first : first + block.growth]
        pooled = self.head.clamp(planes.float()).mean((2, 3))
        return NetworkOutput(F.linear(pooled, self.head.weight, self.head.bias), _own(attention))

    def attention_planes(self, images: Tensor) -> Tensor:
        block = self.features.last
        return _own(block(self.features.before_last(self.to_range(images)), self.through_tap)[:, -block.growth :])


class _Body40(_Body):
    def __init__(self, source: DenseNet40, dtype: torch.dtype) -> None:
        self.features = FoldedFeatures(source.features, dtype)
        self.between = source.squeeze_relu
        assert source.squeeze.bias is not None and source.expand.bias is not None
        self.squeeze, self.squeeze_bias = own(source.squeeze.weight, dtype), own(source.squeeze.bias, torch.float32)
        expand, bias = into_convolution(source.expand.weight.double(), source.expand.bias.double(), source.norm5)
        self.expand, self.expand_bias = own(expand, dtype), bias.float()
        self.head = own(source.classifier.weight, torch.float32)
        self.head_bias = own(source.classifier.bias, torch.float32)

    def output(self, images: Tensor) -> NetworkOutput:
        attention = self.attention_planes(images)
        final = convolved(self.between(attention), self.expand, self.expand_bias, relu=True)
        pooled = final.float().mean((2, 3))
        return NetworkOutput(F.linear(pooled, self.head, self.head_bias), attention)

    def attention_planes(self, images: Tensor) -> Tensor:
        planes = F.avg_pool2d(self.features.last(self.features.before_last(images)), POOL_SIZE)
        return convolved(planes, self.squeeze, self.squeeze_bias)


def _own(planes: Tensor) -> Tensor:
    """A copy, so that the block's buffer is free again."""
    return planes.clone(memory_format=torch.contiguous_format)


def _make_body(source: Network, dtype: torch.dtype) -> _Body:
    if isinstance(source, DenseNet121):
        return _Body121(source, dtype)
    assert isinstance(source, DenseNet40), "these are all networks there are"
    return _Body40(source, dtype)
