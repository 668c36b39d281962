"""Build the DenseNet-40 of the paper's Table 4."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import DenseNet

from harness.config import NetworkConfig
from harness.networks.dense import average_pool, features, norm_relu
from harness.networks.network import ATTENTION_PLANES, Network, NetworkOutput

POOL_SIZE = 4
"""S/8 to S/32. Table 4's adaptive pool, written as a plain one: the same numbers for every size that 32 divides, the
shape that DenseNet-121's transitions give for any other, and a deterministic gradient on CUDA."""


class DenseNet40(Network):
    """DenseNet-121 through denseblock2, pooled to S/32, then two 1x1 convolutions; the first is the attention tap.

    The layers shared with DenseNet-121 bear the same names, so that its weights can be copied over.
    """

    def __init__(self, config: NetworkConfig, num_outputs: int) -> None:
        super().__init__(config)
        source = DenseNet(growth_rate=32, block_config=(6, 12), num_init_features=64, num_classes=1)
        shared = [(name, module) for name, module in source.features.named_children() if name != "norm5"]
        self.features = nn.Sequential(OrderedDict(shared))
        self.squeeze = nn.Conv2d(512, ATTENTION_PLANES, kernel_size=1)
        self.squeeze_relu = nn.ReLU() if config.head_relu else nn.Identity()
        self.expand = nn.Conv2d(ATTENTION_PLANES, 1024, kernel_size=1)
        self.norm5 = nn.BatchNorm2d(1024)
        self.classifier = nn.Linear(1024, num_outputs)

    def forward(self, images: Tensor) -> NetworkOutput:
        """Logits (B, L) and attention planes (B, 32, S/32, S/32) of (B, 3, S, S) normalised images."""
        attention = self.attention_planes(images)
        final = norm_relu(self.norm5, self.expand(self.squeeze_relu(attention)))
        pooled = torch.flatten(F.adaptive_avg_pool2d(final, (1, 1)), 1)
        return NetworkOutput(logits=self.classifier(pooled), attention=attention)

    def attention_planes(self, images: Tensor) -> Tensor:
        """Output of the first 1x1 convolution, before the optional ReLU."""
        planes: Tensor = self.squeeze(average_pool(features(self.features, images), POOL_SIZE))
        return planes

    @property
    def tap_module(self) -> nn.Module:
        """The first 1x1 convolution."""
        return self.squeeze
