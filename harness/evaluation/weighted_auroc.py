"""Scores, targets and many sets of weights come in; the weighted AUROC under each set goes out, by ranks alone."""

from __future__ import annotations

from typing import Any

import numpy as np


def weighted_auroc(scores: np.ndarray, targets: np.ndarray, owners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC of one label under B sets of weights at once; equal scores count one half.

    It is sum_i p_i (sum_{j below i} n_j + 1/2 sum_{j equal i} n_j) / (sum_i p_i sum_j n_j) over positives i and
    negatives j with weights p and n. The inner sums are taken at the distinct scores of the rarer class alone.

    Args:
        scores: (N,), finite.
        targets: (N,): 1 positive, 0 negative; images with any other value are left out.
        owners: (N,): the row of ``weights`` of each image, that of its patient.
        weights: (P, B) float32, whole numbers: how often each patient stands in each resample.

    Returns:
        (B,) float64, exact to the last division; NaN where a set of weights holds one class alone.
    """
    positive, negative = np.flatnonzero(targets == 1), np.flatnonzero(targets == 0)
    if len(negative) < len(positive):  # AUROC stays when both the scores and the classes are turned round
        scores, positive, negative = -scores, negative, positive
    if not len(positive):
        return np.full(weights.shape[1], np.nan)
    levels, place = np.unique(scores[positive], return_inverse=True)
    shape = (len(levels), len(weights))
    # Half a negative's weight is added at the first level not below it, half at the first above it.
    first_not_below = np.searchsorted(levels, scores[negative], side="left")
    first_above = np.searchsorted(levels, scores[negative], side="right")
    rows, columns = np.concatenate([first_not_below, first_above]), np.tile(owners[negative], 2)
    used = rows < len(levels)
    won = _sums(rows[used], columns[used], 0.5, shape) @ weights
    for level in range(1, len(levels)):  # row by row: numpy's cumsum over rows takes five times as long
        won[level] += won[level - 1]
    by_level = _sums(place, owners[positive], 1.0, shape) @ weights
    won *= by_level
    # Sparse, too: a threaded matrix product of this shape waits for its threads longer than it computes.
    (common,) = _sums(np.zeros_like(negative), owners[negative], 1.0, (1, len(weights))) @ weights
    pairs = by_level.sum(axis=0, dtype=np.float64) * common
    found: np.ndarray = np.divide(
        won.sum(axis=0, dtype=np.float64), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0
    )
    return found


def _sums(rows: np.ndarray, columns: np.ndarray, value: float, shape: tuple[int, int]) -> Any:
    """Sparse matrix that sums patients' weights into rows; equal entries are added."""
    from scipy.sparse import csr_array  # type: ignore[import-untyped]

    return csr_array((np.full(len(rows), value, np.float32), (rows, columns)), shape=shape)
