"""Test predictions come in; AUROC by label on the test split and on resamples of its patients goes out.

Patients are drawn with replacement, as many as there are, each with all of its images. The draws are a function of
the seed and the number of patients alone: two methods on one test split are scored on the same resamples, so their
difference is a paired one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.evaluation.bootstrap import weighted_auroc
from launch.report.read.predictions import SplitPredictions

CHUNK_VALUES = 750_000
"""Weights worked on at once, 4 bytes each: what a core keeps in its own cache."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Resampled:
    """AUROC of one run."""

    labels: tuple[str, ...]
    test_set: str
    """Which images and labels; only runs with the same may be paired."""
    num_images: int
    num_patients: int
    positives: np.ndarray
    """(L,) positive images of each label."""
    point: np.ndarray
    """(L,) float64: AUROC on the test split itself; NaN for a label with one class."""
    drawn: np.ndarray
    """(B, L) float64: AUROC on each resample; NaN where the resample holds one class."""


@dataclass(frozen=True)
class Interval:
    """A paired difference of two methods in AUROC, with its 95 % percentile interval."""

    base: float
    other: float
    difference: float
    """``other - base`` on the test split itself; NaN when a label has no AUROC."""
    low: float
    high: float
    """NaN when no resample has both classes."""
    usable: int
    """Resamples with both classes."""


def resample(predictions: SplitPredictions, *, count: int, seed: int) -> Resampled:
    """AUROC on the test split and on ``count`` resamples of its patients."""
    drawn = np.empty((count, len(predictions.labels)))
    start = 0
    for weights in _draws(predictions.num_patients, count, seed):
        end = start + weights.shape[1]
        drawn[start:end] = _by_label(predictions, weights)
        start = end
    return Resampled(
        labels=predictions.labels,
        test_set=predictions.test_set,
        num_images=len(predictions.index),
        num_patients=predictions.num_patients,
        positives=(predictions.targets == 1).sum(axis=0),
        point=_by_label(predictions, np.ones((predictions.num_patients, 1), np.float32))[0],
        drawn=drawn,
    )


def _by_label(predictions: SplitPredictions, weights: np.ndarray) -> np.ndarray:
    pairs = zip(predictions.logits.T, predictions.targets.T, strict=True)
    found = [weighted_auroc(logits, targets, predictions.patient_rows, weights) for logits, targets in pairs]
    return np.stack(found, axis=1)


def _draws(num_patients: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """How often each patient was drawn: (P, B) float32 for some resamples at a time, in order."""
    generator = np.random.default_rng((seed, num_patients))
    at_once = max(1, min(count, CHUNK_VALUES // num_patients))
    for start in range(0, count, at_once):
        size = min(at_once, count - start)
        chosen = generator.integers(0, num_patients, (size, num_patients))
        chosen += num_patients * np.arange(size)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=size * num_patients).reshape(size, num_patients)
        yield np.ascontiguousarray(counts.T, dtype=np.float32)


def paired_intervals(base: list[Resampled], other: list[Resampled]) -> list[Interval]:
    """``other`` minus ``base`` for each label, then for the mean over the labels; repetitions are averaged first.

    The mean is over the labels that have an AUROC on the resample, the same for both methods.

    Raises:
        ValueError: when the repetitions are not of one test split.
    """
    if len({run.test_set for run in (*base, *other)}) != 1:
        raise ValueError("paired runs must be of one test split")
    points = [_with_mean(np.mean([run.point for run in runs], axis=0)[None])[0] for runs in (base, other)]
    drawn = [_with_mean(np.mean([run.drawn for run in runs], axis=0)) for runs in (base, other)]
    differences = drawn[1] - drawn[0]
    found = []
    for i in range(len(points[0])):
        defined = differences[np.isfinite(differences[:, i]), i]
        low, high = np.quantile(defined, [0.025, 0.975]) if len(defined) else (np.nan, np.nan)
        point = (float(points[0][i]), float(points[1][i]))
        found.append(Interval(*point, point[1] - point[0], float(low), float(high), len(defined)))
    return found


def _with_mean(values: np.ndarray) -> np.ndarray:
    """(B, L) with the mean of the defined labels as one more column; NaN where there is none."""
    defined = np.isfinite(values)
    totals = np.where(defined, values, 0.0).sum(axis=1)
    means = np.divide(totals, defined.sum(axis=1), out=np.full(len(values), np.nan), where=defined.any(axis=1))
    return np.concatenate([values, means[:, None]], axis=1)
