"""Draw random weights from a seed and each layer's name alone."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn

TEACHER_SEED = -1
"""Seed of a random teacher; runs use seeds from 0 up, and a student must not start as its teacher's copy."""


def draw_weights(network: nn.Module, seed: int) -> None:
    """Initialise in place as torchvision does its DenseNets: He-normal convolutions, batch norms 1 and 0.

    Linear weights keep PyTorch's default, uniform in ±1/sqrt(fan-in); all biases are 0. Each tensor has a generator
    of its own on the CPU, so its values depend neither on the device, nor on other random numbers drawn before, nor
    on which other layers the network has.

    Raises:
        TypeError: for a layer with parameters of a kind that is not known here.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            _fill(module.weight, nn.init.kaiming_normal_(_like(module.weight), generator=_generator(seed, name)))
            _zero(module.bias)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            _fill(module.weight, _like(module.weight).uniform_(-bound, bound, generator=_generator(seed, name)))
            _zero(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()  # weight 1, bias 0, statistics of a unit normal: nothing random
        elif next(module.parameters(recurse=False), None) is not None:
            raise TypeError(f"{name}: no rule for the random weights of a {type(module).__name__}")


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def _like(parameter: Tensor) -> Tensor:
    return torch.empty(parameter.shape, dtype=torch.float32)


@torch.no_grad()
def _fill(parameter: Tensor, values: Tensor) -> None:
    parameter.copy_(values)


@torch.no_grad()
def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        bias.zero_()
