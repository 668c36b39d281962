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
from harness.networks.dense import dense_block, dense_layer, features, norm_relu
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
        block = self.features.get_submodule("denseblock4")
        planes, attention = dense_block(block, self._before_last_block(images), tap=TAP)
        final = norm_relu(self.norm5, planes)
        pooled = torch.flatten(F.adaptive_avg_pool2d(final, (1, 1)), 1)
        return NetworkOutput(logits=self.classifier(pooled), attention=attention)

    def attention_planes(self, images: Tensor) -> Tensor:
        """Attention planes alone: denselayer16, norm5 and the classifier are not run."""
        values = self._before_last_block(images)
        for name, layer in self.features.get_submodule("denseblock4").named_children():
            new = dense_layer(layer, values)
            if name == TAP:
                return new
            values = torch.cat([values, new], 1)
        raise AssertionError(f"denseblock4 has no {TAP}")

    def to_range(self, images: Tensor) -> Tensor:
        """Images as this network takes them: as they come."""
        return images

    @property
    def norm5(self) -> nn.BatchNorm2d:
        """The last batch norm."""
        found = self.features.get_submodule("norm5")
        assert isinstance(found, nn.BatchNorm2d)
        return found

    def _before_last_block(self, images: Tensor) -> Tensor:
        return features(self.features, self.to_range(images), before="denseblock4")
