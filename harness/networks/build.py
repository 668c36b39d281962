"""Build a registered network from its config, and count its parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from harness.config import NETWORKS, NetworkConfig
from harness.networks.network import Network, apply_scope, trainable_parameters
from harness.networks.random_weights import draw_weights


def build_network(config: NetworkConfig, num_outputs: int) -> Network:
    """A network in train mode with its scope applied and the random weights of seed 0.

    PyTorch's global random state is left as it was found.
    """
    network = construct(config, num_outputs)
    draw_weights(network, seed=0)
    return network


def construct(config: NetworkConfig, num_outputs: int) -> Network:
    """A network with its scope applied and no particular weights: for shapes and counts, on the meta device.

    Raises:
        ValueError: for fewer outputs than one.
    """
    if num_outputs < 1:
        raise ValueError(f"num_outputs = {num_outputs}; a network needs at least one output")
    with torch.random.fork_rng(devices=[]):
        network: Network = NETWORKS[config.name].load()(config, num_outputs)
    apply_scope(network, config)
    return network


@dataclass(frozen=True, kw_only=True)
class NetworkSummary:
    """Parameter counts of one network under one scope."""

    network: str
    scope: str
    num_outputs: int
    num_parameters: int
    """All parameters, frozen ones too."""
    num_trainable: int
    """Parameters inside the scope."""


def summaries(num_outputs: int) -> list[NetworkSummary]:
    """Parameter counts of every network under each of its scopes; no weights are drawn."""
    found = []
    for config in (
        NetworkConfig(name=name, scope=scope) for name, entry in NETWORKS.items() for scope in entry.scopes
    ):
        with torch.device("meta"):
            network = construct(config, num_outputs)
        found.append(
            NetworkSummary(
                network=config.name,
                scope=config.scope,
                num_outputs=num_outputs,
                num_parameters=sum(parameter.numel() for parameter in network.parameters()),
                num_trainable=sum(parameter.numel() for parameter in trainable_parameters(network, config)),
            )
        )
    return found
