"""Build a registered network from its config, draw its random weights, and count its parameters."""

from __future__ import annotations

import hashlib
import math
import pkgutil
from typing import Any

import torch
from torch import nn

from harness.config import NETWORKS, NetworkConfig
from harness.networks.network import Network, apply_scope, trainable_parameters

TEACHER_SEED = -1
"""Seed of a random teacher; runs use seeds from 0 up, and a student must not start as its teacher's copy."""


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
        network: Network = pkgutil.resolve_name(NETWORKS[config.name].constructor)(config, num_outputs)
    apply_scope(network, config)
    return network


@torch.no_grad()
def draw_weights(network: nn.Module, seed: int) -> None:
    """Initialise in place as torchvision does its DenseNets: He-normal convolutions, batch norms 1 and 0.

    Linear weights keep PyTorch's default, uniform in ±1/sqrt(fan-in); all biases are 0. Each tensor has a generator
    of its own on the CPU, so its values depend neither on the device, nor on other random numbers drawn before, nor
    on which other layers the network has.

    Raises:
        TypeError: for a layer with parameters of a kind that is not known here.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            module.reset_parameters()  # weight 1, bias 0, statistics of a unit normal: nothing random
        elif isinstance(module, nn.Conv2d | nn.Linear):
            values, generator = torch.empty(module.weight.shape), _generator(seed, name)
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(values, generator=generator)
            else:
                bound = 1 / math.sqrt(module.in_features)
                values.uniform_(-bound, bound, generator=generator)
            module.weight.copy_(values)
            if module.bias is not None:
                module.bias.zero_()
        elif next(module.parameters(recurse=False), None) is not None:
            raise TypeError(f"{name}: no rule for the random weights of a {type(module).__name__}")


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def summaries(num_outputs: int) -> list[dict[str, Any]]:
    """Counts of all parameters and of those in scope, of each network and scope; no weights are drawn."""
    rows = []
    for config in (
        NetworkConfig(name=name, scope=scope) for name, entry in NETWORKS.items() for scope in entry.scopes
    ):
        with torch.device("meta"):
            network = construct(config, num_outputs)
        total, trainable = (
            sum(parameter.numel() for parameter in parameters)
            for parameters in (network.parameters(), trainable_parameters(network, config))
        )
        row = {"network": config.name, "scope": config.scope, "num_outputs": num_outputs}
        rows.append(row | {"num_parameters": total, "num_trainable": trainable})
    return rows
