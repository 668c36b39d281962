"""Build a registered network from its config, draw its random weights, and count its parameters."""

from __future__ import annotations

import hashlib
import math
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from datasets.errors import InputError
from harness.config import NETWORKS, NetworkConfig
from harness.config.networks import scope_modules
from harness.networks.backbone import Backbone
from harness.networks.library import NATIVE_SIZE, first_line, native_size, near
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


def network_with(
    config: NetworkConfig, tensors: Mapping[str, Tensor], num_outputs: int, device: torch.device
) -> Network:
    """The network with these weights, on a device and in channels_last."""
    network = build_network(config, num_outputs)
    network.load_state_dict(tensors)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def construct(config: NetworkConfig, num_outputs: int) -> Network:
    """A network with its scope applied and no particular weights: for shapes and counts, on the meta device.

    Raises:
        ValueError: for fewer outputs than one.
        InputError: when the library does not have the network, or the network not the modules that the config names.
    """
    if num_outputs < 1:
        raise ValueError(f"num_outputs = {num_outputs}; a network needs at least one output")
    with torch.random.fork_rng(devices=[]):
        network: Network = pkgutil.resolve_name(NETWORKS[config.name].constructor)(config, num_outputs)
    _check_scope(network, config)
    apply_scope(network, config)
    return network


def _check_scope(network: Network, config: NetworkConfig) -> None:
    """Refuse a scope that names a module which is not there or has nothing to train."""
    names = dict(network.named_modules())
    for path in scope_modules(config.name, config.scope):
        module = path.removeprefix("features.")
        where = f"network.scope = {config.scope!r}: {config.name}"
        if path not in names:
            known = [name.removeprefix("features.") for name in names if name.startswith("features.")]
            raise InputError(f"{where} has no module {module!r}{near(module, known)}")
        if next(names[path].parameters(), None) is None:
            raise InputError(f"{where}: module {module!r} has no parameters")


@torch.no_grad()
def draw_weights(network: nn.Module, seed: int) -> None:
    """Initialise in place as torchvision does its DenseNets: He-normal convolutions, batch norms 1 and 0.

    Linear weights keep PyTorch's default, uniform in ±1/sqrt(fan-in); all biases are 0. Each tensor has a generator
    of its own on the CPU, so its values depend neither on the device, nor on other random numbers drawn before, nor
    on which other layers the network has. A library's network is initialised as the library does it, but for the
    classifier.

    Raises:
        TypeError: for a layer with parameters of a kind that is not known here.
    """
    if isinstance(network, Backbone):
        network.draw_features(_generator(seed, "features").initial_seed())
        network = nn.ModuleDict({"classifier": network.classifier})
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
    return [
        summary(NetworkConfig(name=name, scope=scope), num_outputs)
        for name, entry in NETWORKS.items()
        for scope in entry.scopes
    ]


def summary(config: NetworkConfig, num_outputs: int) -> dict[str, Any]:
    """Counts of all parameters and of those in scope; no weights are drawn."""
    network = on_meta(config, num_outputs)
    total, trainable = (
        sum(parameter.numel() for parameter in parameters)
        for parameters in (network.parameters(), trainable_parameters(network, config))
    )
    row = {"network": config.name, "scope": config.scope, "num_outputs": num_outputs}
    return row | {"num_parameters": total, "num_trainable": trainable}


def on_meta(config: NetworkConfig, num_outputs: int = 1) -> Network:
    """The network on the meta device: shapes and counts without memory or arithmetic."""
    with torch.device("meta"):
        return construct(config, num_outputs)


def planes_shape(config: NetworkConfig, image_size: int) -> tuple[int, int, int]:
    """(C, H, W) of a network's attention planes for images of this size.

    Raises:
        InputError: when it does not take them.
    """
    network = on_meta(config).eval()
    try:
        with torch.no_grad():
            planes = network.attention_planes(torch.empty(1, 3, image_size, image_size, device="meta"))
    except Exception as error:  # noqa: BLE001  each network refuses images in its own way
        laid_out = f"laid out for images of {config.image_size} px and " if config.image_size else ""
        words = f"{config.name} is {laid_out}does not take those of {image_size} px ({first_line(error)})"
        raise InputError(words) from None
    return planes.shape[1], planes.shape[2], planes.shape[3]


def multiply_adds(config: NetworkConfig, image_size: int) -> int:
    """Of the forward pass of one image, in convolutions, linear layers and attention."""
    network, counter = on_meta(config).eval(), FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.empty(1, 3, image_size, image_size, device="meta"))
    return int(counter.get_total_flops()) // 2


@cache
def library_size(name: str) -> tuple[float, int]:
    """Multiply-adds of a library's network in units of DenseNet-121's at the same image size, and its parameters."""
    config, size = NetworkConfig(name=name), native_size(name)
    unit = multiply_adds(NetworkConfig(name="densenet121"), NATIVE_SIZE) * (size / NATIVE_SIZE) ** 2
    return multiply_adds(config, size) / unit, summary(config, 1)["num_parameters"]
