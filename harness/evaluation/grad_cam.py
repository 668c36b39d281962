"""Grad-CAM at a network's attention tap (Selvaraju et al., 2017), by captum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from datasets.augment.network_input import to_network_input
from harness.networks import Network


def grad_cam(network: Network, images: np.ndarray, outputs: Sequence[int]) -> np.ndarray:
    """Maps (N, h, w) float32, 0 and above, of what raises one output of the network in each of N images.

    Args:
        network: in eval mode here, on any device.
        images: (N, S, S) uint8.
        outputs: the column of the logits that each image is explained for.

    Raises:
        InputError: when the network has no module that gives planes at its tap.
    """
    from captum.attr import LayerGradCam  # type: ignore[import-untyped]

    network.eval()
    device = next(network.parameters()).device
    inputs = to_network_input(torch.from_numpy(np.ascontiguousarray(images))[:, None].to(device)).requires_grad_()
    method = LayerGradCam(lambda batch: network(batch).logits, network.tap_module)
    found = method.attribute(inputs, torch.tensor(outputs, device=device), relu_attributions=True)
    maps: np.ndarray = found.detach()[:, 0].float().cpu().numpy()
    return maps
