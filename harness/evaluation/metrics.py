"""Compute AUROC by label, its mean and the masked cross-entropy of predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.errors import InputError
from datasets.sources.labels import IGNORED, NEGATIVE, POSITIVE


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
