"""Bootstrap AUROC over patients.

Patients are drawn with replacement, as many as there are, each with all of its images: images of one patient resemble
each other, and intervals from images drawn one by one would be too narrow. The draws are a function of the seed and
the number of patients alone, so several models scored on one test split are scored on the same resamples and their
differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
CHUNK_VALUES = 750_000
"""Patients times resamples that are worked on at once; their float32 weights fit a core's cache."""
Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class ResampledAuroc:
    """AUROC of L labels on a test split and on B resamples of its patients, in 0..1."""

    point: np.ndarray
    """(L,) float64: on the test split itself; NaN for a label with one class."""
    drawn: np.ndarray
    """(B, L) float64: on each resample; NaN where the resample holds one class."""


def bootstrap_auroc(
    logits: np.ndarray,
    targets: np.ndarray,
    patients: Sequence[str] | np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ResampledAuroc:
    """AUROC by label on the images given and on resamples of their patients.

    Args:
        logits: (N, L) float, finite.
        targets: (N, L) uint8: 1 positive, 0 negative; any other value is left out.
        patients: (N,) whose image it is.
        resamples: how often the patients are drawn.
        seed: decides the draws.
    """
    names, owners = np.unique(np.asarray(patients, dtype=str), return_inverse=True)

    def by_label(weights: np.ndarray) -> np.ndarray:
        columns = zip(np.asarray(logits).T, np.asarray(targets).T, strict=True)
        return np.stack([weighted_auroc(scores, known, owners, weights) for scores, known in columns], axis=1)

    drawn = [by_label(weights) for weights in _patient_counts(len(names), resamples, seed)]
    return ResampledAuroc(by_label(np.ones((len(names), 1), np.float32))[0], np.concatenate(drawn))


def auroc_intervals(
    logits: np.ndarray,
    targets: np.ndarray,
    patients: Sequence[str] | np.ndarray,
    labels: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[dict[str, Interval | None], Interval | None]:
    """95 % percentile intervals of AUROC by label and of the unweighted mean over labels; see ``bootstrap_auroc``.

    A resample without both classes of a label says nothing about that label, and its mean is taken over the others.
    """
    drawn = bootstrap_auroc(logits, targets, patients, resamples=resamples, seed=seed).drawn
    by_label = {label: percentile_interval(column) for label, column in zip(labels, drawn.T, strict=True)}
    return by_label, percentile_interval(mean_of_defined(drawn))


def percentile_interval(values: np.ndarray) -> Interval | None:
    """The 2.5 % and 97.5 % percentiles of the values that are not NaN; None when there is none."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """(B,) means over the labels of (B, L) that are not NaN; NaN where there is none."""
    defined = ~np.isnan(values)
    sums, counts = np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1)
    means: np.ndarray = np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)
    return means


def weighted_auroc(scores: np.ndarray, targets: np.ndarray, owners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC of one label under B sets of weights at once; equal scores count one half.

    It is sum_i p_i (sum_{j below i} n_j + 1/2 sum_{j equal i} n_j) / (sum_i p_i sum_j n_j) over positives i and
    negatives j with weights p and n. scikit-learn's ``roc_auc_score`` with ``sample_weight`` gives the same values,
    but sorts the scores anew for every set of weights.

    Args:
        scores: (N,), finite.
        targets: (N,): 1 positive, 0 negative; images with any other value are left out.
        owners: (N,): the row of ``weights`` of each image, that of its patient.
        weights: (P, B) float32, whole numbers: how often each patient stands in each resample.

    Returns:
        (B,) float64, exact to the last division; NaN where a set of weights holds one class alone.
    """
    positive, negative = np.flatnonzero(targets == 1), np.flatnonzero(targets == 0)
    negative = negative[np.argsort(scores[negative], kind="stable")]
    below = np.zeros((len(negative) + 1, weights.shape[1]), np.float32)
    np.cumsum(weights[owners[negative]], axis=0, out=below[1:])
    first, last = (np.searchsorted(scores[negative], scores[positive], side=side) for side in ("left", "right"))
    drawn = weights[owners[positive]]
    won = (drawn * (below[first] + below[last])).sum(axis=0, dtype=np.float64) / 2
    pairs = drawn.sum(axis=0, dtype=np.float64) * below[-1]
    found: np.ndarray = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return found


def _patient_counts(num_patients: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each patient was drawn: (P, B) float32 for some resamples at a time, in order."""
    generator = np.random.default_rng((seed, num_patients))
    at_once = max(1, min(resamples, CHUNK_VALUES // num_patients))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        chosen = generator.integers(0, num_patients, (size, num_patients))
        chosen += num_patients * np.arange(size)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=size * num_patients).reshape(size, num_patients)
        yield np.ascontiguousarray(counts.T, dtype=np.float32)
