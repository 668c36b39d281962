"""Compute attention planes and maps of trained networks on radiographs.

The planes are those of the attention loss: the raw activations at the tap, (32, S/32, S/32) for each image, of the
networks in eval mode on images that are not augmented, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from datasets.augment.network_input import to_network_input
from datasets.beton.reader import Beton
from datasets.sources.labels import POSITIVE
from harness.evaluation.maps import attention_map
from harness.networks import Network
from harness.objectives.attention_transfer import equation_2


def choose_radiographs(beton: Beton, count: int) -> np.ndarray:
    """Sample indices (n,) of ``count`` test images with a finding, or of all there are, evenly spaced by index."""
    test = beton.indices("test")
    disease = [column for column, label in enumerate(beton.labels) if label != "No Finding"]
    found = test[(beton.targets[test][:, disease] == POSITIVE).any(axis=1)]
    chosen = found if len(found) else test
    places = np.linspace(0, len(chosen) - 1, min(count, len(chosen))).round().astype(np.int64)
    return np.asarray(chosen[places])


def attention_planes(network: Network, images: np.ndarray) -> np.ndarray:
    """Planes (N, C, h, w) float32 of ``images`` (N, S, S) uint8."""
    with torch.inference_mode():
        return network.attention_planes(_inputs(network, images)).float().cpu().numpy()


def attention_maps(network: Network, images: np.ndarray) -> np.ndarray:
    """Maps (N, h, w) of the attention planes, the same for every label, of images (N, S, S) uint8; 1 is even."""
    return attention_map(attention_planes(network, images))


def grad_cam(network: Network, images: np.ndarray, outputs: Sequence[int]) -> np.ndarray:
    """Grad-CAM at the tap (Selvaraju et al., 2017), by captum: maps (N, h, w) float32, 0 and above.

    They show what raises one output of the network in each of N images.

    Args:
        network: in eval mode here, on any device.
        images: (N, S, S) uint8.
        outputs: the column of the logits that each image is explained for.

    Raises:
        InputError: when the network has no module that gives planes at its tap.
    """
    from captum.attr import LayerGradCam  # type: ignore[import-untyped]

    inputs = _inputs(network, images).requires_grad_()
    method = LayerGradCam(lambda batch: network(batch).logits, network.tap_module)
    found = method.attribute(inputs, torch.tensor(outputs, device=inputs.device), relu_attributions=True)
    maps: np.ndarray = found.detach()[:, 0].float().cpu().numpy()
    return maps


def _inputs(network: Network, images: np.ndarray) -> torch.Tensor:
    """The input of a network, on its device and in eval mode from now on, of images (N, S, S) uint8."""
    network.eval()
    device = next(network.parameters()).device
    return to_network_input(torch.from_numpy(np.ascontiguousarray(images))[:, None].to(device))


def plane_distance(student: np.ndarray, teacher: np.ndarray) -> np.ndarray | None:
    """Equation (2) of the paper for each image: (N,) from 0 (equal planes) to 2 (negated ones).

    None where planes do not pair, since their numbers or sizes differ.
    """
    if student.shape != teacher.shape:
        return None
    pairs = zip(torch.from_numpy(student), torch.from_numpy(teacher), strict=True)
    return np.array([float(equation_2(own[None], other[None])) for own, other in pairs])
