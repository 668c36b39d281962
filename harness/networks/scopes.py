"""Which parameters are trained: a network and its config come in; ``requires_grad`` and batch norm modes are set."""

from __future__ import annotations

from torch import nn

from harness.config import NetworkConfig
from harness.networks.output import Network


def trainable_parameters(network: Network, config: NetworkConfig) -> list[nn.Parameter]:
    """Parameters inside the config's scope, in the network's order; nothing is changed."""
    inside = network.scopes[config.scope]
    return [parameter for name, parameter in network.named_parameters() if _is_inside(name, inside)]


def apply_scope(network: Network, config: NetworkConfig) -> None:
    """Freeze what lies outside the config's scope; the network's train or eval mode stays as it is.

    Under ``frozen_bn = "update"`` frozen batch norms go on updating their running statistics while the network
    trains, as in PyTorch when only ``requires_grad`` is cleared; under ``"eval"`` they stay in eval mode.
    """
    inside = network.scopes[config.scope]
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(_is_inside(name, inside))
    network.frozen_norms = ()
    if config.frozen_bn == "eval":
        network.frozen_norms = tuple(
            name
            for name, module in network.named_modules()
            if isinstance(module, nn.BatchNorm2d) and not _is_inside(name, inside)
        )
    network.train(network.training)


def _is_inside(name: str, scope: tuple[str, ...]) -> bool:
    return any(module in ("", name) or name.startswith(f"{module}.") for module in scope)
