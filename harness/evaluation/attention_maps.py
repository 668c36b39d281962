"""Compute attention planes of students and teachers on radiographs, for figures.

The planes are those of the attention loss: the raw activations at the tap, (32, S/32, S/32) for each image, of the
networks in eval mode on images that are not augmented, in float32 on the CPU.
"""

from __future__ import annotations

import numpy as np
import torch

from datasets.augment.network_input import to_network_input
from datasets.beton.reader import Beton
from datasets.sources.labels import POSITIVE
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
    network.eval()
    with torch.inference_mode():
        inputs = to_network_input(torch.from_numpy(np.ascontiguousarray(images))[:, None])
        return network.attention_planes(inputs).float().numpy()


def plane_distance(student: np.ndarray, teacher: np.ndarray) -> np.ndarray | None:
    """Equation (2) of the paper for each image: (N,) from 0 (equal planes) to 2 (negated ones).

    None where planes do not pair, since their numbers or sizes differ.
    """
    if student.shape != teacher.shape:
        return None
    pairs = zip(torch.from_numpy(student), torch.from_numpy(teacher), strict=True)
    return np.array([float(equation_2(own[None], other[None])) for own, other in pairs])
