"""The networks: a ``NetworkConfig`` and a number of labels come in; a network with its scope applied goes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from harness.config import NetworkConfig, NetworkName
from harness.networks.densenet40 import DenseNet40
from harness.networks.densenet121 import DenseNet121
from harness.networks.inference import InferenceNetwork
from harness.networks.output import ATTENTION_PLANES, Network, NetworkOutput
from harness.networks.random_weights import TEACHER_SEED, draw_weights
from harness.networks.scopes import apply_scope, trainable_parameters

__all__ = [
    "ATTENTION_PLANES",
    "NETWORKS",
    "TEACHER_SEED",
    "DenseNet40",
    "DenseNet121",
    "InferenceNetwork",
    "Network",
    "NetworkOutput",
    "NetworkSummary",
    "apply_scope",
    "build_network",
    "construct",
    "draw_weights",
    "summaries",
    "trainable_parameters",
]

NETWORKS: dict[NetworkName, type[DenseNet121] | type[DenseNet40]] = {
    "densenet121": DenseNet121,
    "densenet40": DenseNet40,
}
"""Every network by the name that a config gives it."""


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
    constructor: Callable[[NetworkConfig, int], Network] = NETWORKS[config.name]
    with torch.random.fork_rng(devices=[]):
        network = constructor(config, num_outputs)
    apply_scope(network, config)
    return network


@dataclass(frozen=True, kw_only=True)
class NetworkSummary:
    """One network under one scope, counted."""

    network: NetworkName
    scope: str
    num_outputs: int
    num_parameters: int
    """All parameters, frozen ones too."""
    num_trainable: int
    """Parameters inside the scope."""


def summaries(num_outputs: int) -> list[NetworkSummary]:
    """Parameter counts of every network under each of its scopes; no weights are drawn."""
    found = []
    for name, network_class in NETWORKS.items():
        for scope in network_class.scopes:
            config = NetworkConfig(name=name, scope=scope)
            with torch.device("meta"):
                network = construct(config, num_outputs)
            found.append(
                NetworkSummary(
                    network=name,
                    scope=scope,
                    num_outputs=num_outputs,
                    num_parameters=sum(parameter.numel() for parameter in network.parameters()),
                    num_trainable=sum(parameter.numel() for parameter in trainable_parameters(network, config)),
                )
            )
    return found
