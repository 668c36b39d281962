"""Draw random weights from a seed and each layer's name alone."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import nn

TEACHER_SEED = -1
"""Seed of a random teacher; runs use seeds from 0 up, and a student must not start as its teacher's copy."""


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
