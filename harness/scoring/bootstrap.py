"""Bootstrap AUROC over patients, and take intervals from resamples.

Patients are drawn with replacement, as many as there are, each with all of its images: images of one patient resemble
each other, and intervals from images drawn one by one would be too narrow. The draws are a function of the seed and
the number of patients alone, so several models scored on one test split are scored on the same resamples and their
differences are paired.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from datasets.loading.threads import usable_cores
from harness.scoring.resampling import Ranked, draw_patients, resample

RESAMPLES = 1000
LEVELS = (2.5, 97.5)
"""Percentiles that a 95 % interval lies between."""
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

    ``logits`` are (N, L) and finite; ``targets`` (N, L) uint8, all but 1 and 0 left out; ``patients`` (N,).
    """
    names, owners = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    counts = draw_patients(len(names), resamples, seed)
    counts = np.concatenate([np.ones((len(names), 1), counts.dtype), counts], axis=1)

    def of_label(column: int) -> np.ndarray:
        ranked = Ranked.by_score(np.asarray(targets)[:, column], np.asarray(logits)[:, column], owners)
        return resample(ranked, counts, 1)[:, 0, 0]

    with ThreadPoolExecutor(usable_cores()) as pool:
        found = np.stack(list(pool.map(of_label, range(np.shape(logits)[1]))), axis=1)
    return ResampledAuroc(found[0], found[1:])


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
    """The 2.5 % and 97.5 % percentiles of the values (B,) that are not NaN; None when there is none."""
    low, high = percentile_intervals(values).tolist()
    return None if np.isnan(low) else (low, high)


def percentile_intervals(values: np.ndarray) -> np.ndarray:
    """(..., 2): these percentiles of values (B, ...); NaN where there is none."""
    if not np.isnan(values).any():  # many times as fast
        return np.moveaxis(np.percentile(values, LEVELS, axis=0), 0, -1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice", category=RuntimeWarning)
        return np.moveaxis(np.nanpercentile(values, LEVELS, axis=0), 0, -1)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """(B,) means over the labels of (B, L) that are not NaN; NaN where there is none."""
    defined = ~np.isnan(values)
    sums, counts = np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1)
    means: np.ndarray = np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)
    return means
