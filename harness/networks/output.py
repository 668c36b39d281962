"""What enters a network and what leaves it: normalised images in; logits and attention planes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Self

from torch import Tensor, nn

from harness.config import NetworkConfig, Scope

ATTENTION_PLANES = 32
"""Planes at the attention tap of every network here, so that a student's pair with a teacher's by index."""


class NetworkOutput(NamedTuple):
    """One forward pass over B images of S x S pixels."""

    logits: Tensor
    """(B, L): one logit per label."""
    attention: Tensor
    """(B, 32, S/32, S/32): raw activations at the tap, before any batch norm or ReLU; may be negative."""


class Network(nn.Module):
    """Base of all networks: a tap for attention planes, named scopes, and batch norms that can stay frozen."""

    scopes: ClassVar[Mapping[Scope, tuple[str, ...]]]
    """Scope name to the names of the modules whose parameters it trains; ``("",)`` is the whole network."""
    classifier: nn.Linear
    """The last layer: one output per label, so its weights are of no use under other labels."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.frozen_norms: tuple[str, ...] = ()

    def forward(self, images: Tensor) -> NetworkOutput:
        """Logits and attention planes of (B, 3, S, S) normalised images."""
        raise NotImplementedError

    def attention_planes(self, images: Tensor) -> Tensor:
        """Attention planes alone, (B, 32, S/32, S/32); layers behind the tap are not run."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Self:
        """As in PyTorch, except that the batch norms named in ``frozen_norms`` stay in eval mode."""
        super().train(mode)
        for name in self.frozen_norms:
            self.get_submodule(name).eval()
        return self
