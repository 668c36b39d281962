"""DenseNet-121: (B, 3, S, S) normalised images in; logits and the planes of denseblock4's last layer but one out.

Built from torchvision's own modules under torchvision's own names, so that its state dicts load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import densenet121

from harness.config import NetworkConfig, Scope
from harness.networks.output import Network, NetworkOutput

TAP = "denselayer15"
"""The paper's attention layer, "one layer before the last layer of the last dense block": 32 planes."""


class DenseNet121(Network):
    """torchvision's DenseNet-121 with its attention planes returned beside the logits."""

    scopes: ClassVar[Mapping[Scope, tuple[str, ...]]] = {
        "all": ("",),
        # Counted in convolutions and linear layers from the end, the 34th is transition3.conv.
        "last34": ("features.transition3", "features.denseblock4", "features.norm5", "classifier"),
    }

    def __init__(self, config: NetworkConfig, num_outputs: int) -> None:
        super().__init__(config)
        source = densenet121(weights=None, num_classes=num_outputs)
        self.features: nn.Sequential = source.features
        self.classifier: nn.Linear = source.classifier

    def forward(self, images: Tensor) -> NetworkOutput:
        """Logits (B, L) and attention planes (B, 32, S/32, S/32) of (B, 3, S, S) normalised images."""
        planes = self._planes_through_tap(images)
        attention = planes[-1]
        for layer in self._layers_after_tap():
            planes.append(layer(planes))
        # In place as in torchvision: norm5's gradient needs its input, not its output.
        final = F.relu(self.features.get_submodule("norm5")(torch.cat(planes, 1)), inplace=True)
        pooled = torch.flatten(F.adaptive_avg_pool2d(final, (1, 1)), 1)
        return NetworkOutput(logits=self.classifier(pooled), attention=attention)

    def attention_planes(self, images: Tensor) -> Tensor:
        """Attention planes alone: denselayer16, norm5 and the classifier are not run."""
        return self._planes_through_tap(images)[-1]

    def _planes_through_tap(self, images: Tensor) -> list[Tensor]:
        """Input of denseblock4 and the outputs of its layers up to the tap, as torchvision's block keeps them."""
        values = images
        for name, module in self.features.named_children():
            if name == "denseblock4":
                break
            values = module(values)
        planes = [values]
        for name, layer in self.features.get_submodule("denseblock4").named_children():
            planes.append(layer(planes))
            if name == TAP:
                break
        return planes

    def _layers_after_tap(self) -> list[nn.Module]:
        layers = dict(self.features.get_submodule("denseblock4").named_children())
        names = list(layers)
        return [layers[name] for name in names[names.index(TAP) + 1 :]]
