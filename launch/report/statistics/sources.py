"""What a difference of two methods rests on: p-values, Holm's correction, DeLong's test, seeds and patients.

DeLong's test is a check beside the bootstrap: it takes images for independent, so with several images of a patient
its p-value is too small. Sources: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), 837-845; by ranks instead
of all pairs, as Sun and Xu, IEEE Signal Processing Letters 21 (2014), 1389-1393.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from launch.report.statistics.cells import t_quantile

LEVEL = 0.05


def bootstrap_p(differences: np.ndarray) -> float:
    """The two-sided p-value of a difference by its resamples: twice the smaller share on one side of 0.

    One resample is counted besides on each side (Davison and Hinkley, Bootstrap Methods and their Application, 1997,
    section 4.2), so that B resamples never claim less than 2 / (B + 1). NaN without a resample.
    """
    drawn = differences[np.isfinite(differences)]
    if not len(drawn):
        return math.nan
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (1 + beyond) / (1 + len(drawn)))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values of one family of hypotheses; NaN is no hypothesis and stays.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    found = np.array(values, dtype=np.float64)
    order = np.argsort(found)[: int(np.isfinite(found).sum())]
    steps = np.arange(len(order), 0, -1) * found[order]
    found[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    adjusted: list[float] = found.tolist()
    return adjusted


class Sources(NamedTuple):
    """The standard deviation of a difference by seeds alone and by patients alone, and an interval over both."""

    sd_seeds: float
    sd_patients: float
    low: float
    high: float


def mixed_interval(base: np.ndarray, other: np.ndarray, sd_patients: float) -> Sources:
    """Split what a difference of two means over repetitions rests on, with a 95 % interval over seeds and patients.

    The variance by seeds is that of two independent means, s^2 / n of each, between repetitions scored on the same
    patients; the variance by patients is the bootstrap's, of the differences with repetitions averaged. Their sum is
    what drawing patients and repetitions anew in two levels estimates, but for the factor n / (n - 1) by which a
    bootstrap of n repetitions sees too little variance. The quantile is Student's with Welch and Satterthwaite's
    degrees of freedom: three seeds do not tell their own spread well, and where they dominate the interval says so.
    What varies with seed and patient together is counted in both parts, which errs to the wide side.

    Args:
        base: (n,) scores of the repetitions of one method on the test split.
        other: (n',) of the other method.
        sd_patients: standard deviation of the difference over resamples of patients, repetitions averaged.

    Returns:
        The sources in the unit of the scores; NaN for seeds and interval where a method has one repetition alone.
    """
    difference = float(other.mean() - base.mean())
    if min(len(base), len(other)) < 2 or not math.isfinite(difference + sd_patients):
        return Sources(math.nan, sd_patients, math.nan, math.nan)
    shares = [float(values.var(ddof=1)) / len(values) for values in (base, other)]
    degrees = sum(share**2 / (len(values) - 1) for share, values in zip(shares, (base, other), strict=True))
    variance = sum(shares) + sd_patients**2
    half = t_quantile(variance**2 / degrees if degrees > 0 else math.inf) * math.sqrt(variance)
    return Sources(math.sqrt(sum(shares)), sd_patients, difference - half, difference + half)


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
