"""Build torchxrayvision's DenseNet-121, a teacher alone: it has one input channel and a pixel range of its own."""

from __future__ import annotations

from torch import Tensor, nn

from datasets.augment.network_input import IMAGENET_MEAN, IMAGENET_STD
from harness.config import NetworkConfig
from harness.config.xrv_names import OUTPUTS
from harness.networks.densenet121 import DenseNet121

PIXEL_RANGE = 1024.0
"""Black is minus this and white plus this in torchxrayvision (``utils.normalize``)."""


class XrvDenseNet121(DenseNet121):
    """DenseNet-121 with one input channel and torchxrayvision's 18 outputs, under torchxrayvision's own names.

    Its logits are the classifier's own; torchxrayvision's operating points, which only rescale probabilities for
    reading, are not applied. Images are taken at the size at which they come: torchxrayvision scales all of them to
    224 px, but the planes of teacher and student must have one size.
    """

    def __init__(self) -> None:
        super().__init__(NetworkConfig(name="densenet121"), len(OUTPUTS))
        self.features.conv0 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)

    def to_range(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S), three copies of one gray channel, as (B, 1, S, S) in [-1024, 1024]."""
        gray = images[:, :1] * IMAGENET_STD[0] + IMAGENET_MEAN[0]
        return (gray * 2.0 - 1.0) * PIXEL_RANGE
