"""Make one map for each image of the planes that a network's attention tap gives; with numpy alone."""

from __future__ import annotations

import numpy as np

EPS = 1e-6
"""Norm under which a plane counts as empty, as in the attention loss."""


def unit_planes(planes: np.ndarray) -> np.ndarray:
    """Each plane (h, w) divided by its norm, as equation (2) has it."""
    norms = np.sqrt(np.square(planes, dtype=np.float64).sum(axis=(-2, -1), keepdims=True))
    return np.asarray(planes / np.maximum(norms, EPS))


def attention_map(planes: np.ndarray) -> np.ndarray:
    """(N, h, w): mean square of the unit planes times h w, so that 1 everywhere is even attention."""
    units = unit_planes(planes)
    return np.asarray(np.square(units).mean(axis=1) * (units.shape[-2] * units.shape[-1]))
