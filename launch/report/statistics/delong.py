"""DeLong's test of the difference of correlated AUROCs.

A check beside the bootstrap: it takes images for independent, so with several images of a patient its p-value is
too small. Sources: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), 837-845; by ranks instead of all pairs,
as Sun and Xu, IEEE Signal Processing Letters 21 (2014), 1389-1393.
"""

from __future__ import annotations

import math

import numpy as np


def placements(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(N,) int32: twice the number of images of the other class that an image is on the right side of, ties by half.

    The mean over the positives (or the negatives) divided by twice the size of the other class is the AUROC.

    Args:
        scores: (N,), finite.
        targets: (N,): 1 positive, 0 negative; any other value is left out and gets 0.
    """
    found = np.zeros(len(scores), np.int32)
    positive, negative = scores[targets == 1], scores[targets == 0]
    below, above = np.sort(negative), -np.sort(-positive)
    found[targets == 1] = _rank(below, positive)
    found[targets == 0] = _rank(-above, -negative)
    return found


def _rank(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Twice the midrank of each of ``among`` in the sorted ``values``, counted from 0."""
    ranks: np.ndarray = np.searchsorted(values, among, "left") + np.searchsorted(values, among, "right")
    return ranks


def delong(first: np.ndarray, second: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """The difference of two methods' AUROCs, second minus first, and its variance; NaN with under two of a class.

    The covariance matrix of all runs' AUROCs is bilinear in their placements, so the variance of a difference of
    means over runs is that of the difference of their mean placements.

    Args:
        first: (R, N) ``placements`` of the R repetitions of one method, whose AUROCs are averaged.
        second: (S, N) of the other.
        targets: (N,), the same for all.
    """
    gained = (second.mean(axis=0) - first.mean(axis=0)) / 2
    positive, negative = targets == 1, targets == 0
    m, n = int(positive.sum()), int(negative.sum())
    if min(m, n) < 2:
        return math.nan, math.nan
    by_positive, by_negative = gained[positive] / n, gained[negative] / m
    return float(by_positive.mean()), float(by_positive.var(ddof=1) / m + by_negative.var(ddof=1) / n)


def delong_p(first: np.ndarray, second: np.ndarray, targets: np.ndarray) -> float:
    """The two-sided p-value of that difference; 1 for no difference, NaN with under two images of a class."""
    difference, variance = delong(first, second, targets)
    if difference == 0.0:
        return 1.0
    return math.erfc(abs(difference) / math.sqrt(2 * variance)) if variance > 0 else math.nan
