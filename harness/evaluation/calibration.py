"""Fit on the validation split what turns a label's logit into a probability and into a decision.

A label has a temperature T, so that sigmoid(logit / T) is calibrated (Guo et al., "On Calibration of Modern Neural
Networks", 2017, here one for each label), and a threshold on the logit for each rule of ``RULES``. T is positive, so
a decision is the same whether the probability is calibrated or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import InputError
from datasets.files import parse_as, read_json_object
from datasets.sources.labels import NEGATIVE, POSITIVE

RULES = ("youden", "sensitivity", "specificity", "f1")
"""Largest sensitivity + specificity; the highest threshold of at least the wanted sensitivity; the lowest of at least
the wanted specificity; largest F1. Of equal thresholds the highest, but for ``specificity``."""
WANTED = 0.9
"""Sensitivity, or specificity, that the rule of this name keeps unless another is given."""
MAX_TEMPERATURE = 100.0
"""And 1 / MAX_TEMPERATURE is the smallest: of a label that the logits separate there is no best one."""


@dataclass(frozen=True, kw_only=True)
class LabelCalibration:
    """Temperature and thresholds of one label; None where the validation split does not hold both classes."""

    temperature: float | None
    thresholds: dict[str, float | None]
    """By rule, on the logit as the network gives it; positive where logit >= threshold."""
    sensitivities: dict[str, float | None]
    """By rule, on the validation split."""
    specificities: dict[str, float | None]

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature {self.temperature} must be above 0")
        for name in ("thresholds", "sensitivities", "specificities"):
            if set(getattr(self, name)) != set(RULES):
                raise ValueError(f"{name}: expected one for each of {', '.join(RULES)}")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was fitted for each label, and to what."""

    labels: dict[str, LabelCalibration]
    sensitivity: float
    """The sensitivity that the rule of this name keeps, in 0..1."""
    specificity: float
    content_hash: str
    """Of the beton."""
    weights_hash: str

    @classmethod
    def fit(
        cls,
        logits: np.ndarray,
        targets: np.ndarray,
        labels: Sequence[str],
        *,
        content_hash: str,
        weights_hash: str,
        sensitivity: float = WANTED,
        specificity: float = WANTED,
    ) -> Calibration:
        """Fit to a validation split.

        Args:
            logits: (N, L) float, finite.
            targets: (N, L) uint8: 1 positive, 0 negative; any other is left out.
            labels: L names.
            content_hash: of the beton.
            weights_hash: of the network that gave the logits.
            sensitivity: for the rule of this name.
            specificity: for the rule of this name.

        Raises:
            InputError: when one of these two is not within 0..1.
        """
        for name, value in (("sensitivity", sensitivity), ("specificity", specificity)):
            if not 0 < value <= 1:
                raise InputError(f"{name} = {value:g} must be above 0 and at most 1")
        found = {}
        for column, label in enumerate(labels):
            known = np.isin(targets[:, column], (NEGATIVE, POSITIVE))
            found[label] = _fit_label(logits[known, column], targets[known, column], sensitivity, specificity)
        return cls(
            labels=found,
            sensitivity=sensitivity,
            specificity=specificity,
            content_hash=content_hash,
            weights_hash=weights_hash,
        )

    @classmethod
    def read(cls, path: Path) -> Calibration | None:
        """What the file holds; None when there is none.

        Raises:
            InputError: for a key that is unknown or missing, or a value of another kind.
        """
        if not path.exists():
            return None
        advice = "; 'cxr evaluate RUN --write' makes it anew"
        return parse_as(cls, read_json_object(path), where=str(path), advice=advice)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (N, L) float64 of ``logits`` (N, L); NaN for a label without a temperature."""
        from scipy.special import expit

        temperatures = [label.temperature for label in self.labels.values()]
        found: np.ndarray = expit(logits.astype(np.float64) / np.array(temperatures, dtype=np.float64))
        return found

    def decisions(self, logits: np.ndarray, rule: str) -> np.ndarray:
        """Decisions (N, L) float64 on ``logits`` (N, L): 1, 0, and NaN for a label without a threshold."""
        thresholds = np.array([label.thresholds[rule] for label in self.labels.values()], dtype=np.float64)
        return np.where(np.isnan(thresholds), np.nan, logits >= thresholds)


def _fit_label(logits: np.ndarray, targets: np.ndarray, sensitivity: float, specificity: float) -> LabelCalibration:
    """Fit to (N,) logits and targets, none of them ignored."""
    num_positives = int((targets == POSITIVE).sum())
    if num_positives in (0, len(targets)):
        none: dict[str, float | None] = dict.fromkeys(RULES)
        return LabelCalibration(temperature=None, thresholds=none, sensitivities=none, specificities=none)
    thresholds, sensitivities, specificities, f1 = _operating_points(logits, targets)
    places = {
        "youden": np.argmax(sensitivities + specificities),
        "sensitivity": np.argmax(sensitivities >= sensitivity),
        "specificity": np.flatnonzero(specificities >= specificity)[-1],
        "f1": np.argmax(f1),
    }

    def chosen(values: np.ndarray) -> dict[str, float | None]:
        return {rule: float(values[place]) for rule, place in places.items()}

    return LabelCalibration(
        temperature=_fit_temperature(logits, targets),
        thresholds=chosen(thresholds),
        sensitivities=chosen(sensitivities),
        specificities=chosen(specificities),
    )


def _operating_points(
    logits: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds (T,), falling, with the sensitivity, specificity and F1 at each.

    The first lies just above the highest logit, where scikit-learn has infinity: nothing is positive there. Rates are
    ratios of whole numbers, so that equal ones are equal and a wanted one of 0.9 is met by 9 of 10.
    """
    from sklearn.metrics import roc_curve

    false_rate, true_rate, thresholds = roc_curve(targets, logits, drop_intermediate=False)
    thresholds[0] = np.nextafter(logits.max(), np.inf, dtype=logits.dtype)
    positives = np.count_nonzero(targets == POSITIVE)
    negatives = len(targets) - positives
    true, false = np.rint(true_rate * positives), np.rint(false_rate * negatives)
    return thresholds, true / positives, (negatives - false) / negatives, 2 * true / (true + false + positives)


def _fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature of the smallest mean cross-entropy, which has one minimum over it."""
    from scipy.optimize import minimize_scalar

    values = logits.astype(np.float64)

    def cross_entropy(log_temperature: float) -> float:
        scaled = values * math.exp(-log_temperature)
        return float(np.mean(np.logaddexp(0.0, scaled) - scaled * targets))

    limit = math.log(MAX_TEMPERATURE)
    found = minimize_scalar(cross_entropy, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))
