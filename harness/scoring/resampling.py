"""Scores of groups of images on resamples of their patients, several thousand of them in seconds.

Patients are drawn with replacement, each with all of its images (see ``harness.scoring.bootstrap``). scikit-learn
gives the same values with how often each image was drawn as ``sample_weight``, but sorts and checks anew each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from datasets.loading.threads import compiled_kernel

SCORES = (
    *("auroc", "average_precision", "sensitivity", "specificity", "f1"),
    *("brier", "ece", "brier_calibrated", "ece_calibrated", "prevalence"),
)
"""The columns that ``resample`` fills. All but the last are NaN where one class is lacking."""
NUM_BINS = 15
"""Bins of equal width of the expected calibration error (Guo et al., 2017)."""
TIE, BIN, CALIBRATED_BIN, CUT, LAST = 1, 2, 4, 8, 16
"""Marks of an image in the order of scores: the last of equal scores, of a bin of probabilities, of those at or above
the threshold, of its group."""
BLOCK = 64
"""Resamples that are worked on at once."""
HERE, TRUE, WON, CALLED, BINS, GAP = 0, 2, 4, 6, 8, 10
"""Rows of a block's sums: positive and negative images of the present score, and of those before it; ordered pairs
and summed precision; positive and negative ones at or above the threshold; the two errors of calibration; and of the
present bin the difference of targets and probabilities, with its square over all, for both kinds of probability."""

Array = Any


@lru_cache(maxsize=1)
def draw_patients(num_patients: int, resamples: int, seed: int) -> np.ndarray:
    """(P, B) uint16: how often each patient stands in each resample; not to be written to, since it is kept.

    Hundreds of runs of one test split are scored one after another, all on the same draws.
    """
    generator = np.random.default_rng((seed, num_patients))
    counts = np.empty((num_patients, resamples), np.uint16)
    for draw in range(resamples):
        chosen = generator.integers(0, num_patients, num_patients)
        counts[:, draw] = np.bincount(chosen, minlength=num_patients)
    counts.flags.writeable = False
    return counts


@dataclass(frozen=True, eq=False)
class Ranked:
    """The images of one label whose target is known, by group and falling score."""

    owners: np.ndarray
    """(n,) int32: the patient of each."""
    positive: np.ndarray
    """(n,) bool."""
    marks: np.ndarray
    """(n,) uint8."""
    errors: np.ndarray
    """(n, 4) float64: target minus probability, its square, and both for the calibrated probability."""
    groups: np.ndarray
    """(S,) int64: the group of each segment of the images."""

    @classmethod
    def by_score(cls, targets: np.ndarray, scores: np.ndarray, owners: np.ndarray) -> Ranked:
        """Rank the images of one label, all of them as one group, for scores that need neither probability nor
        threshold; arguments as those of ``of``.
        """
        none = np.full(len(targets), np.nan)
        return cls.of(targets, scores, (none, none), np.nan, owners, np.zeros(len(targets), np.int64))

    @classmethod
    def of(
        cls,
        targets: np.ndarray,
        scores: np.ndarray,
        probabilities: tuple[np.ndarray, np.ndarray],
        threshold: float,
        owners: np.ndarray,
        groups: np.ndarray,
    ) -> Ranked:
        """Rank the images of one label.

        Args:
            targets: (N,) uint8: 1 positive, 0 negative; images with any other value are left out.
            scores: (N,) float, finite.
            probabilities: (N,) of the scores as they are, and calibrated ones, both rising with the score.
            threshold: images at or above it are called positive; NaN for none.
            owners: (N,) numbers of the patients.
            groups: (N,) number of the group of each; negative where it is in none.
        """
        kept = np.flatnonzero((targets <= 1) & (groups >= 0))
        order = kept[np.lexsort((-scores[kept], groups[kept]))]
        place, score, positive = groups[order], scores[order], targets[order] == 1
        last = np.append(place[1:] != place[:-1], True)[: len(order)]
        marks = np.where(last, LAST, 0) | np.where(last | _changes(score), TIE, 0)
        errors = np.empty((len(order), 4))
        for column, (values, mark) in enumerate(zip(probabilities, (BIN, CALIBRATED_BIN), strict=True)):
            value = values[order]
            errors[:, 2 * column] = positive - value
            errors[:, 2 * column + 1] = errors[:, 2 * column] ** 2
            bins = np.minimum(np.floor(np.nan_to_num(value) * NUM_BINS), NUM_BINS - 1)
            marks |= np.where(last | _changes(bins), mark, 0)
        called = score >= threshold
        marks |= np.where(called & (last | ~np.append(called[1:], False)[: len(order)]), CUT, 0)
        return cls(owners[order].astype(np.int32), positive, marks.astype(np.uint8), errors, place[last])


def _changes(values: np.ndarray) -> np.ndarray:
    """(n,) bool: where the next value is another."""
    return np.append(values[1:] != values[:-1], True)[: len(values)]


def resample(ranked: Ranked, counts: np.ndarray, num_groups: int) -> np.ndarray:
    """(B, num_groups, len(SCORES)) float64 from ``counts`` (P, B): scores on each resample.

    A group without images is all NaN.
    """
    found = np.full((counts.shape[1], num_groups, len(SCORES)), np.nan)
    if len(ranked.groups):
        out = np.empty((len(ranked.groups), len(SCORES), counts.shape[1]))
        _resample(counts, ranked.owners, ranked.positive, ranked.marks, ranked.errors, out)
        found[:, ranked.groups] = np.moveaxis(out, -1, 0)
    return found


@compiled_kernel
def _resample(counts: Array, owners: Array, positive: Array, marks: Array, errors: Array, out: Array) -> None:
    """Write ``out`` (S, 10, B) in one pass over the images for each block of resamples.

    The innermost loops run over the resamples of a block, so that an image is ranked, positive or marked for all of
    them alike; the sums of a block stay in the core's first cache.
    """
    for first in range(0, counts.shape[1], BLOCK):
        size = min(BLOCK, counts.shape[1] - first)
        sums = np.zeros((14, BLOCK))
        group = 0
        for i in range(owners.shape[0]):
            drawn = counts[owners[i], first : first + size]
            _add_image(drawn, positive[i], errors[i], sums)
            mark = marks[i]
            if mark & TIE:
                _end_tie(sums, size)
            if mark & BIN:
                _end_bin(sums[GAP], sums[BINS], size)
            if mark & CALIBRATED_BIN:
                _end_bin(sums[GAP + 2], sums[BINS + 1], size)
            if mark & CUT:
                sums[CALLED, :size] = sums[TRUE, :size]
                sums[CALLED + 1, :size] = sums[TRUE + 1, :size]
            if mark & LAST:
                _end_group(sums, out[group], first, size)
                sums[:] = 0.0
                group += 1


@compiled_kernel
def _add_image(drawn: Array, positive: bool, errors: Array, sums: Array) -> None:
    """Add an image as often as each resample holds it."""
    here = sums[HERE] if positive else sums[HERE + 1]
    gap, square, gap_calibrated, square_calibrated = sums[GAP], sums[GAP + 1], sums[GAP + 2], sums[GAP + 3]
    first, second, third, fourth = errors[0], errors[1], errors[2], errors[3]
    for draw in range(drawn.shape[0]):
        weight = float(drawn[draw])
        here[draw] += weight
        gap[draw] += weight * first
        square[draw] += weight * second
        gap_calibrated[draw] += weight * third
        square_calibrated[draw] += weight * fourth


@compiled_kernel
def _end_tie(sums: Array, size: int) -> None:
    """Count the images of one score: pairs in the right order, equal ones by half, and precision at their recall."""
    true_here, false_here, true, false = sums[HERE], sums[HERE + 1], sums[TRUE], sums[TRUE + 1]
    won, precision = sums[WON], sums[WON + 1]
    for draw in range(size):
        won[draw] += false_here[draw] * (true[draw] + 0.5 * true_here[draw])
        true[draw] += true_here[draw]
        false[draw] += false_here[draw]
        precision[draw] += true_here[draw] * true[draw] / max(true[draw] + false[draw], 1.0)
        true_here[draw] = 0.0
        false_here[draw] = 0.0


@compiled_kernel
def _end_bin(gap: Array, total: Array, size: int) -> None:
    for draw in range(size):
        total[draw] += abs(gap[draw])
        gap[draw] = 0.0


@compiled_kernel
def _end_group(sums: Array, out: Array, first: int, size: int) -> None:
    """Write a group's scores (10, B) from ``first`` on."""
    for draw in range(size):
        true, false, place = sums[TRUE, draw], sums[TRUE + 1, draw], first + draw
        out[:, place] = np.nan
        total = true + false
        if total > 0.0:
            out[9, place] = true / total
        if true > 0.0 and false > 0.0:
            called_true, called_false = sums[CALLED, draw], sums[CALLED + 1, draw]
            out[0, place] = sums[WON, draw] / (true * false)
            out[1, place] = sums[WON + 1, draw] / true
            out[2, place] = called_true / true
            out[3, place] = (false - called_false) / false
            out[4, place] = 2.0 * called_true / (true + called_true + called_false)
            out[5, place] = sums[GAP + 1, draw] / total
            out[6, place] = sums[BINS, draw] / total
            out[7, place] = sums[GAP + 3, draw] / total
            out[8, place] = sums[BINS + 1, draw] / total
