"""Build DenseNet-121 from torchvision's modules, with the planes of denseblock4's last layer but one.

Modules bear torchvision's own names, so that its state dicts load as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import densenet121

from harness.config import NetworkConfig
from harness.networks.dense import dense_block, features, norm_relu
from harness.networks.network import Network, NetworkOutput

TAP = "denselayer15"
"""The paper's attention layer, "one layer before the last layer of the last dense block": 32 planes."""


class DenseNet121(Network):
    """torchvision's DenseNet-121 with its attention planes returned beside the logits."""

    def __init__(self, config: NetworkConfig, num_outputs: int) -> None:
        super().__init__(config)
        source = densenet121(weights=None, num_classes=num_outputs)
        self.features: nn.Sequential = source.features
        self.classifier: nn.Linear = source.classifier

    def forward(self, images: Tensor) -> NetworkOutput:
        """Logits (B, L) and attention planes (B, 32, S/32, S/32) of (B, 3, S, S) normalised images."""
        planes, attention = self._last_block(images)
        final = norm_relu(self.features.get_submodule("norm5"), planes)
        pooled = torch.flatten(F.adaptive_avg_pool2d(final, (1, 1)), 1)
        return NetworkOutput(logits=self.classifier(pooled), attention=attention)

    def attention_planes(self, images: Tensor) -> Tensor:
        """Attention planes alone: denselayer16, norm5 and the classifier are not run."""
        return self._last_block(images, stop_at_tap=True)[1]

    @property
    def tap_module(self) -> nn.Module:
        """The last convolution of denselayer15."""
        return self.features.get_submodule(f"denseblock4.{TAP}.conv2")

    def to_range(self, images: Tensor) -> Tensor:
        """Images in this network's pixel range: as they are."""
        return images

    def _last_block(self, images: Tensor, *, stop_at_tap: bool = False) -> tuple[Tensor, Tensor]:
        values = features(self.features, self.to_range(images), before="denseblock4")
        return dense_block(self.features.get_submodule("denseblock4"), values, tap=TAP, stop_at_tap=stop_at_tap)
