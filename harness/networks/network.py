"""Base class of the networks: logits and attention planes of an image, and which parameters are trained."""

from __future__ import annotations

from typing import NamedTuple, Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from datasets.errors import InputError
from harness.config import NetworkConfig
from harness.config.networks import scope_modules

ATTENTION_PLANES = 32
"""Planes at the attention tap of every network of the paper, so that a student's pair with a teacher's by index."""


class NetworkOutput(NamedTuple):
    """One forward pass over B images of S x S pixels."""

    logits: Tensor
    """(B, L): one logit per label."""
    attention: Tensor
    """(B, 32, S/32, S/32): raw activations at the tap, before any batch norm or ReLU; may be negative. A library's
    network has planes of its own number and size, (B, C, H, W), of whatever its tap gives."""


class Network(nn.Module):
    """Base of all networks: a tap for attention planes, and batch norms that can stay frozen."""

    classifier: nn.Linear
    """The last layer: one output per label, so its weights are of no use under other labels."""
    num_planes: int = ATTENTION_PLANES
    """At the attention tap."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.frozen_norms: tuple[str, ...] = ()

    def forward(self, images: Tensor) -> NetworkOutput:
        """Logits and attention planes of (B, 3, S, S) normalised images."""
        raise NotImplementedError

    def attention_planes(self, images: Tensor) -> Tensor:
        """Attention planes alone, (B, 32, S/32, S/32); a network may skip the layers behind the tap."""
        output: NetworkOutput = self(images)
        return output.attention

    @property
    def tap_module(self) -> nn.Module:
        """The module that gives the attention planes, (B, C, H, W), for methods that look at its gradient.

        Raises:
            InputError: when none gives planes in this form.
        """
        raise InputError(f"{self.config.name}: names no module that gives its attention planes")

    def train(self, mode: bool = True) -> Self:
        """As in PyTorch, except that the batch norms named in ``frozen_norms`` stay in eval mode."""
        super().train(mode)
        for name in self.frozen_norms:
            self.get_submodule(name).eval()
        return self


def trainable_parameters(network: Network, config: NetworkConfig) -> list[nn.Parameter]:
    """Parameters inside the config's scope, in the network's order; nothing is changed."""
    return [parameter for name, parameter in network.named_parameters() if _in_scope(name, config)]


def apply_scope(network: Network, config: NetworkConfig) -> None:
    """Freeze what lies outside the config's scope; the network's train or eval mode stays as it is.

    Under ``frozen_bn = "update"`` frozen batch norms go on updating their running statistics while the network
    trains, as in PyTorch when only ``requires_grad`` is cleared; under ``"eval"`` they stay in eval mode.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(_in_scope(name, config))
    network.frozen_norms = ()
    if config.frozen_bn == "eval":
        network.frozen_norms = tuple(
            name
            for name, module in network.named_modules()
            if isinstance(module, _BatchNorm) and not _in_scope(name, config)
        )
    network.train(network.training)


def _in_scope(name: str, config: NetworkConfig) -> bool:
    modules = scope_modules(config.name, config.scope)
    return any(module in ("", name) or name.startswith(f"{module}.") for module in modules)
