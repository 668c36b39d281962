"""Logits, targets and patients of a test split come in; 95 % intervals of AUROC by label and of its mean go out.

Patients are drawn, not images: images of one patient resemble each other, and drawing them one by one would give
intervals that are too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.evaluation.weighted_auroc import weighted_auroc

RESAMPLES = 1000
CHUNK = 50
"""Resamples that are computed at once; 50 of 22,000 images take 9 MB an array."""
Interval = tuple[float, float]


def auroc_intervals(
    logits: np.ndarray,
    targets: np.ndarray,
    patients: Sequence[str] | np.ndarray,
    labels: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[dict[str, Interval | None], Interval | None]:
    """Percentile intervals (2.5 %, 97.5 %) of AUROC in 0..1, by label and of the unweighted mean over labels.

    A resample without both classes of a label says nothing about that label, and its mean is taken over the others.

    Args:
        logits: (N, L) float.
        targets: (N, L) uint8; 255 is left out.
        patients: (N,) whose image it is.
        labels: names of the L labels.
        resamples: how often the patients are drawn with replacement.
        seed: decides the draws.
    """
    _, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    rng, num = np.random.default_rng(seed), int(patient.max()) + 1
    found = np.full((resamples, len(labels)), np.nan)
    for start in range(0, resamples, CHUNK):
        end = min(resamples, start + CHUNK)
        drawn = rng.multinomial(num, np.full(num, 1.0 / num), size=end - start).T.astype(np.float32)
        for column in range(len(labels)):
            found[start:end, column] = weighted_auroc(logits[:, column], targets[:, column], patient, drawn)
    by_label = {label: _interval(found[:, column]) for column, label in enumerate(labels)}
    defined = ~np.isnan(found)
    sums, counts = np.where(defined, found, 0.0).sum(axis=1), defined.sum(axis=1)
    return by_label, _interval(sums[counts > 0] / counts[counts > 0])


def _interval(values: np.ndarray) -> Interval | None:
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
