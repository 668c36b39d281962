"""Make a network of torchvision or timm a student or teacher: a classifier of the labels, and planes at a tap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from datasets.augment.network_input import IMAGENET_MEAN, IMAGENET_STD
from datasets.errors import InputError
from harness.config import NetworkConfig
from harness.networks.library import Tap, build_body, native_size, near, probe
from harness.networks.network import Network, NetworkOutput


class Backbone(Network):
    """A library's network under ``features``, by the library's own module names, and a new classifier.

    The tap's output is kept by a forward hook, so that the network runs as the library wrote it.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, config: NetworkConfig, num_outputs: int) -> None:
        super().__init__(config)
        self.tap = find_tap(config)
        self.num_planes = self.tap.shape[0]
        body = build_body(config.name, config.image_size)
        self.features = body.network
        self.classifier = nn.Linear(probe(config.name, _size(config)).num_features, num_outputs)
        self.renormalises = (body.mean, body.std) != (IMAGENET_MEAN, IMAGENET_STD)
        our_mean, our_std, mean, std = (
            torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD, body.mean, body.std)
        )
        self.register_buffer("scale", our_std / std, persistent=False)
        self.register_buffer("shift", (our_mean - mean) / std, persistent=False)
        self._tapped: list[Tensor] = []
        self.features.get_submodule(self.tap.name).register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self._tapped.append(output)

    def forward(self, images: Tensor) -> NetworkOutput:
        """Logits (B, L) and planes (B, C, H, W) of (B, 3, S, S) normalised images."""
        features = self.features(self.to_range(images))
        planes = self.tap.planes(self._tapped[-1])
        self._tapped.clear()
        return NetworkOutput(logits=self.classifier(features), attention=planes)

    @property
    def tap_module(self) -> nn.Module:
        """The tapped module.

        Raises:
            InputError: when it gives tokens, or planes with the channels last.
        """
        if self.tap.layout != "planes":
            raise InputError(f"{self.config.name}: its tap {self.tap.name} gives {self.tap.layout}, and no planes")
        return self.features.get_submodule(self.tap.name)

    def to_range(self, images: Tensor) -> Tensor:
        """Images normalised as the library does it for this network."""
        return images * self.scale + self.shift if self.renormalises else images

    def draw_features(self, seed: int) -> None:
        """Give the features the library's own random weights, a function of ``seed`` alone, drawn on the CPU."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            drawn = build_body(self.config.name, self.config.image_size).network.state_dict()
        self.features.load_state_dict(drawn)


def find_tap(config: NetworkConfig) -> Tap:
    """The tap that the config names, or the network's last planes, for images of its size.

    Raises:
        InputError: for a module that is not there or gives no planes, with the nearest that do.
    """
    found = probe(config.name, _size(config))
    name = probe(config.name, native_size(config.name)).last if config.tap is None else config.tap
    if name in found.taps:
        return found.taps[name]
    if config.tap is None:
        raise InputError(f"network.name = {config.name!r}: has no planes before its pooling; give network.tap")
    reason = f"module {name!r} {found.refused[name]}" if name in found.refused else f"has no module {name!r}"
    raise InputError(
        f"network.tap: {config.name}: {reason}{near(name, found.listed)}; 'cxr models {config.name} --taps' lists all"
    )


def _size(config: NetworkConfig) -> int:
    return config.image_size or native_size(config.name)
