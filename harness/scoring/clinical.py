"""Score predictions as a clinic asks for it: by label and in the mean, by group, with intervals over patients.

``harness.scoring.resampling`` computes all scores, to scikit-learn's values; those of the images themselves are of a
resample that holds each patient once. A decision is made on the logit, at the threshold that a rule chose on
validation; probabilities are judged as they are and with the temperature that was fitted there
(``harness.evaluation.calibration``). In a group of few images a score says little: a label is scored where it has
``min_count`` positive and as many negative images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from datasets.errors import InputError
from datasets.loading.threads import usable_cores
from harness.evaluation.calibration import RULES, Calibration
from harness.evaluation.predictions_file import labels_of, logits_of, targets_of
from harness.scoring.bootstrap import mean_of_defined
from harness.scoring.groups import Partition, partitions
from harness.scoring.resampling import SCORES, Ranked, draw_patients, resample

MEAN = "mean"
"""Stands for the unweighted mean of the labels among them."""
GAP_SCORES = ("auroc", "sensitivity", "specificity")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """How predictions are scored."""

    rule: str = "youden"
    """Which threshold decides: a name of ``harness.evaluation.calibration.RULES``."""
    by: tuple[str, ...] | None = None
    """Attributes whose groups are scored; None for all that are known."""
    pairs: bool = True
    """Whether groups by two attributes together are scored too."""
    min_count: int = 20
    """Positive, and negative, images that a group must have of a label to be scored on it."""
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if self.rule not in RULES:
            raise InputError(f"rule {self.rule!r}: expected one of {', '.join(RULES)}")
        if self.min_count < 1 or self.resamples < 1 or self.seed < 0:
            raise InputError("min_count and resamples must be at least 1, seed at least 0")


@dataclass(frozen=True, eq=False, kw_only=True)
class Scored:
    """Scores of one partition's G groups on L labels, then in their mean; NaN where there is none."""

    partition: Partition
    num_images: np.ndarray
    """(G,)."""
    positives: np.ndarray
    """(G, L) positive images."""
    negatives: np.ndarray
    large: np.ndarray
    """(G, L) bool: whether there are enough of both."""
    point: np.ndarray
    """(G, L + 1, len(SCORES)) float64."""
    drawn: np.ndarray
    """(B, G, L + 1, len(SCORES)) float32, on the resamples."""


class Gap(NamedTuple):
    """How far apart two groups are: the best on a score minus the worst."""

    highest: str
    lowest: str
    gap: float
    low: float
    high: float
    """95 % interval by the standard deviation over resamples, widened by Bonferroni for the choice of two among all
    pairs of groups: with two groups it is the plain one."""


def score_predictions(frame: pd.DataFrame, calibration: Calibration | None, options: ScoreOptions) -> list[Scored]:
    """Scores of all images, then of the groups by each attribute and by each pair of attributes.

    Without a calibration there are no decisions and no calibrated probabilities.

    Raises:
        InputError: when the predictions lack an attribute that was asked for, or the calibration is of other labels.
    """
    labels = labels_of(frame)
    if calibration is not None and set(calibration.labels) != set(labels):
        raise InputError(
            "calibration.json: fitted to other labels than those of the predictions; cxr evaluate --write"
        )
    targets, logits = targets_of(frame), logits_of(frame)
    patients, owners = np.unique(frame["patient"].astype(str).to_numpy(dtype=np.str_), return_inverse=True)
    counts = draw_patients(len(patients), options.resamples, options.seed)
    parts = partitions(frame, options.by, pairs=options.pairs)
    fitted = _Fitted.of(labels, calibration, options.rule)

    def of_label(column: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [
            _score_label(targets[:, column], logits[:, column], fitted[column], owners, part, counts)
            for part in parts
        ]

    with ThreadPoolExecutor(usable_cores()) as pool:
        by_label = list(pool.map(of_label, range(len(labels))))
    return [
        _join(part, targets, [found[number] for found in by_label], 1 if not part.by else options.min_count)
        for number, part in enumerate(parts)
    ]


class _Fitted(NamedTuple):
    """What validation says of one label; NaN for nothing."""

    temperature: float
    threshold: float

    @classmethod
    def of(cls, labels: Sequence[str], calibration: Calibration | None, rule: str) -> list[_Fitted]:
        if calibration is None:
            return [cls(math.nan, math.nan)] * len(labels)
        found = [calibration.labels[label] for label in labels]
        return [
            cls(*(math.nan if value is None else value for value in (label.temperature, label.thresholds[rule])))
            for label in found
        ]


def _score_label(
    targets: np.ndarray, logits: np.ndarray, fitted: _Fitted, owners: np.ndarray, part: Partition, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of one label (G, K) and on the resamples (B, G, K) of the groups of a partition."""
    from scipy.special import expit

    values = logits.astype(np.float64)
    probabilities = expit(values), expit(values / fitted.temperature)
    ranked = Ranked.of(targets, logits, probabilities, fitted.threshold, owners, part.numbers)
    once = np.ones((len(counts), 1), counts.dtype)
    point, drawn = resample(ranked, once, len(part.names))[0], resample(ranked, counts, len(part.names))
    if math.isnan(fitted.threshold):
        for values in (point, drawn):
            values[..., [SCORES.index(name) for name in ("sensitivity", "specificity", "f1")]] = np.nan
    return point, drawn.astype(np.float32)


def _join(
    part: Partition, targets: np.ndarray, found: Sequence[tuple[np.ndarray, np.ndarray]], min_count: int
) -> Scored:
    """Put the labels of a partition side by side, with their mean behind them."""
    num_groups = len(part.names)
    member = part.numbers[:, None] == np.arange(num_groups)
    positives, negatives = (member.T.astype(np.int64) @ (targets == value) for value in (1, 0))
    large = (positives >= min_count) & (negatives >= min_count)
    point = np.stack([label[0] for label in found], axis=1)
    drawn = np.stack([label[1] for label in found], axis=2)
    point[~large, :-1] = np.nan  # the prevalence stays
    drawn[:, ~large, :-1] = np.nan
    means = _means(point[None])[0], _means(drawn)
    return Scored(
        partition=part,
        num_images=member.sum(axis=0),
        positives=positives,
        negatives=negatives,
        large=large,
        point=np.concatenate([point, means[0][:, None]], axis=1),
        drawn=np.concatenate([drawn, means[1][:, :, None].astype(np.float32)], axis=2),
    )


def _means(values: np.ndarray) -> np.ndarray:
    """(B, G, K) means of (B, G, L, K) over the labels that are not NaN."""
    moved = np.moveaxis(values, 2, -1)
    return mean_of_defined(moved.reshape(-1, moved.shape[-1])).reshape(moved.shape[:-1])


def comparable(scored: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Groups (G,) bool and labels (L,) bool over which means of groups are compared.

    The groups that are large enough for half of the labels that any group can be scored on, and the labels that all
    of these groups can be scored on.
    """
    possible = scored.large.any(axis=0)
    groups = scored.large.sum(axis=1) * 2 >= max(1, possible.sum())
    labels = scored.large[groups].all(axis=0) if groups.any() else np.zeros_like(possible)
    return groups, labels


def group_scores(scored: Scored, score: str, label: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Point (G,) and resampled (B, G) values of a score of one label; of None the mean of ``comparable`` ones."""
    column = SCORES.index(score)
    if label is not None:
        return scored.point[:, label, column], scored.drawn[:, :, label, column]
    groups, labels = comparable(scored)
    chosen = np.flatnonzero(labels)
    values = [array[..., chosen, column] for array in (scored.point, scored.drawn)]
    point, drawn = (np.where(groups, value.mean(axis=-1) if len(chosen) else np.nan, np.nan) for value in values)
    return point, drawn


def gap(scored: Scored, score: str, label: int | None) -> Gap | None:
    """The best group minus the worst one; None with under two groups that are scored."""
    point, drawn = group_scores(scored, score, label)
    known = np.flatnonzero(~np.isnan(point))
    if len(known) < 2:
        return None
    high, low = known[np.argmax(point[known])], known[np.argmin(point[known])]
    if high == low:  # all equal
        high, low = known[0], known[1]
    return gap_between(scored.partition, point, drawn, int(high), int(low), len(known))


def gap_between(
    part: Partition, point: np.ndarray, drawn: np.ndarray, high: int, low: int, num_groups: int = 2
) -> Gap:
    """The gap of two groups, given the values (G,) and (B, G) of all."""
    from scipy.special import ndtri

    difference = float(point[high] - point[low])
    spread = float(np.nanstd(drawn[:, high] - drawn[:, low]))
    half = float(-ndtri(0.025 / math.comb(num_groups, 2))) * spread
    return Gap(part.names[high], part.names[low], difference, difference - half, difference + half)
