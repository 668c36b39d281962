"""Compute AUROC by label, its mean and the masked cross-entropy of predictions; bootstrap AUROC over patients.

Patients are drawn with replacement, as many as there are, each with all of its images: images of one patient resemble
each other, and intervals from images drawn one by one would be too narrow. The draws are a function of the seed and
the number of patients alone, so several models scored on one test split are scored on the same resamples and their
differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.errors import InputError
from datasets.sources.labels import IGNORED, NEGATIVE, POSITIVE

RESAMPLES = 1000
CHUNK_VALUES = 750_000
"""Patients times resamples that are worked on at once; their float32 weights fit a core's cache."""
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one set of predictions."""

    num_samples: int
    cross_entropy: float
    """Mean binary cross-entropy over all entries that are not ignored."""
    auroc: dict[str, float | None]
    """AUROC in 0..1 by label; None where it is undefined."""

    @property
    def undefined_labels(self) -> list[str]:
        """Labels without both classes: they have no AUROC and are left out of the mean."""
        return [label for label, value in self.auroc.items() if value is None]

    @property
    def mean_auroc(self) -> float | None:
        """Unweighted mean over the defined labels; None when there is none."""
        return mean_defined(self.auroc.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "cross_entropy": self.cross_entropy,
            "mean_auroc": self.mean_auroc,
            "auroc": self.auroc,
            "undefined_labels": self.undefined_labels,
            "num_samples": self.num_samples,
        }


def score(logits: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Scores:
    """Score ``logits`` (N, L) float against ``targets`` (N, L) uint8, where 255 is left out.

    Raises:
        FloatingPointError: when a logit is not finite.
        InputError: when every target is ignored.
    """
    if not np.isfinite(logits).all():
        rows = int((~np.isfinite(logits)).any(axis=1).sum())
        raise FloatingPointError(f"{rows:,} of {len(logits):,} images have logits that are not finite")
    return Scores(
        num_samples=len(logits),
        cross_entropy=cross_entropy(logits, targets),
        auroc=auroc(logits, targets, labels),
    )


def auroc(logits: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, float | None]:
    """Area under the ROC curve by label; None for a label whose known targets hold one class alone."""
    from sklearn.metrics import roc_auc_score

    lacking = single_class_labels(targets, labels)
    values: dict[str, float | None] = {}
    for column, label in enumerate(labels):
        known = targets[:, column] != IGNORED
        defined = label not in lacking
        values[label] = float(roc_auc_score(targets[known, column], logits[known, column])) if defined else None
    return values


def mean_defined(values: Iterable[float | None]) -> float | None:
    """Unweighted mean of the values that are defined; None when there is none."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def single_class_labels(targets: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Labels whose known targets hold one class alone, or that have no known target at all."""
    positive, negative = (targets == POSITIVE).any(axis=0), (targets == NEGATIVE).any(axis=0)
    return [label for column, label in enumerate(labels) if not (positive[column] and negative[column])]


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean of binary cross-entropy with logits over the entries that are not ignored, in float64."""
    known = targets != IGNORED
    if not known.any():
        raise InputError("every target is ignored, so there is nothing to score; convert with another 'uncertain'")
    value = logits[known].astype(np.float64)
    return float(np.mean(np.logaddexp(0.0, value) - value * targets[known]))


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

    ``logits`` are (N, L) and finite; ``targets`` (N, L) uint8, all but 1 and 0 left out; ``patients`` (N,).
    """
    names, owners = np.unique(np.asarray(patients, dtype=str), return_inverse=True)

    def by_label(weights: np.ndarray) -> np.ndarray:
        columns = zip(np.asarray(logits).T, np.asarray(targets).T, strict=True)
        return np.stack([weighted_auroc(scores, known, owners, weights) for scores, known in columns], axis=1)

    drawn = [by_label(weights) for weights in patient_counts(len(names), resamples, seed)]
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


def patient_counts(num_patients: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each patient was drawn: (P, B) float32 for some resamples at a time, in order."""
    generator = np.random.default_rng((seed, num_patients))
    at_once = max(1, min(resamples, CHUNK_VALUES // num_patients))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        chosen = generator.integers(0, num_patients, (size, num_patients))
        chosen += num_patients * np.arange(size)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=size * num_patients).reshape(size, num_patients)
        yield np.ascontiguousarray(counts.T, dtype=np.float32)
