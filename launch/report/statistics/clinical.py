"""Score the students' predictions as a clinic asks for it, keep the results in the report's folder, and average them.

Repetitions are averaged on the same resamples of the patients, so intervals are over patients; and the gap between
groups of two methods is compared on the same resamples, too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from datasets.errors import InputError
from harness.evaluation.calibration import Calibration
from harness.evaluation.predictions_file import labels_of, logits_of, read_predictions, targets_of
from harness.scoring.bootstrap import percentile_intervals
from harness.scoring.clinical import GAP_SCORES, Scored, ScoreOptions, comparable, group_scores, score_predictions
from harness.scoring.resampling import NUM_BINS
from launch.report.read.collect import PassedOver, Run
from launch.report.statistics.cells import Cell
from launch.report.statistics.kept import GO_ON, WITH_ARRAYS, keep, kept, key_of

VERSION = 1
"""Raised when the numbers of equal files change."""
CACHE_NAME = ".scores"


@dataclass(frozen=True, eq=False, kw_only=True)
class GroupMeans:
    """Means of ``GAP_SCORES`` over the labels that all groups of an attribute can be scored on."""

    __pydantic_config__ = WITH_ARRAYS
    attribute: str
    names: tuple[str, ...]
    counts: tuple[int, ...]
    """Images of each group."""
    positives: tuple[int, ...]
    """Positive findings of each group, summed over these labels."""
    num_labels: int
    point: np.ndarray
    """(G, 3); NaN for a group that is too small."""
    drawn: np.ndarray
    """(B, G, 3) float32."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RunScores:
    """Scores of one run, or the means of several."""

    __pydantic_config__ = WITH_ARRAYS
    labels: tuple[str, ...]
    num_patients: int
    point: np.ndarray
    """(L + 1, K): by label, then their mean; the scores are ``resampling.SCORES``."""
    drawn: np.ndarray
    """(B, L + 1, K) float32."""
    reliability: np.ndarray
    """(2, NUM_BINS, 3): images, summed probability and summed target of each bin over all labels; probabilities as
    they are, then calibrated ones (all 0 without)."""
    groups: tuple[GroupMeans, ...] = ()

    @property
    def test_set(self) -> tuple[object, ...]:
        """What must agree between runs whose scores are averaged or paired."""
        groups = ((group.attribute, group.names) for group in self.groups)
        return (self.labels, self.num_patients, len(self.drawn), *groups)


class GapChange(NamedTuple):
    """The gap between two groups under transfer learning and under another method."""

    attribute: str
    score: str
    highest: str
    lowest: str
    base: float
    other: float
    low: float
    high: float
    """95 % percentile interval of ``other - base``."""


@dataclass(frozen=True)
class Clinical:
    """Scores of the students: the mean over repetitions by the hash of the cell's config."""

    cells: dict[str, RunScores] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()


def clinical_scores(cells: Sequence[Cell], cache: Path, *, resamples: int, seed: int, seconds: float) -> Clinical:
    """Score the students for which there is time; the others are counted in the notes.

    Runs whose files cannot be used are passed over with the reason.

    A run that was scored before takes no time; at least one other is
    scored whatever the time.
    """
    options = ScoreOptions(resamples=resamples, seed=seed, pairs=False)
    end, waiting = math.inf, 0  # the clock begins after the first run, with which kernels may have to be compiled
    found, passed_over = dict[str, RunScores](), list[PassedOver]()
    for cell in cells:
        runs = list[RunScores]()
        for run in cell.finished if cell.role == "student" else ():
            try:
                place, key = cache / f"{run.run_id}.npz", _key(run, options)
                scores = kept(place, key, RunScores)
                if scores is None and time.monotonic() <= end:
                    scores = _scored(run, options)
                    end = min(end, time.monotonic() + seconds)
                    keep(place, key, scores)
            except InputError as error:
                passed_over.append(PassedOver(run.folder.path, "incomplete", f"{error}; it is not scored"))
                continue
            if scores is None:
                waiting += 1
            elif not runs or scores.test_set == runs[0].test_set:
                runs.append(scores)
        if runs:
            found[cell.config.hash] = _averaged(runs)
    notes = (f"scores by label and group: {waiting} runs wait; {GO_ON}",) if waiting else ()
    return Clinical(found, notes, tuple(passed_over))


def gap_changes(base: RunScores, other: RunScores) -> list[GapChange]:
    """How the gap between the two groups farthest apart differs between the methods, by attribute.

    The groups are chosen on the sum of both methods' scores: a choice on one of them would favour chance in its gap,
    which the other then seems to narrow.
    """
    if base.test_set != other.test_set:
        return []
    changes = []
    for first, second in zip(base.groups, other.groups, strict=True):
        for column, score in enumerate(GAP_SCORES):
            known = np.flatnonzero(~np.isnan(first.point[:, column] + second.point[:, column]))
            if len(known) < 2:
                continue
            point = (first.point + second.point)[known, column]
            high, low = known[np.argmax(point)], known[np.argmin(point)]
            if high == low:
                high, low = known[0], known[1]
            gaps = [group.point[high, column] - group.point[low, column] for group in (first, second)]
            drawn = [group.drawn[:, high, column] - group.drawn[:, low, column] for group in (first, second)]
            ends = percentile_intervals(drawn[1] - drawn[0])
            names = first.names[high], first.names[low]
            changes.append(GapChange(first.attribute, score, *names, *map(float, gaps), *map(float, ends)))
    return changes


def _scored(run: Run, options: ScoreOptions) -> RunScores:
    frame, calibration = read_predictions(run.folder.predictions_file), Calibration.read(run.folder.calibration_file)
    whole, *parts = score_predictions(frame, calibration, options)
    return RunScores(
        labels=labels_of(frame),
        num_patients=int(frame["patient"].nunique()),
        point=whole.point[0],
        drawn=whole.drawn[:, 0],
        reliability=_reliability(frame, calibration),
        groups=tuple(map(_group_means, parts)),
    )


def _group_means(scored: Scored) -> GroupMeans:
    values = [group_scores(scored, score, None) for score in GAP_SCORES]
    labels = comparable(scored)[1]
    return GroupMeans(
        attribute=scored.partition.title,
        names=scored.partition.names,
        counts=tuple(scored.num_images.tolist()),
        positives=tuple(scored.positives[:, labels].sum(axis=1).tolist()),
        num_labels=int(labels.sum()),
        point=np.stack([point for point, _ in values], axis=-1),
        drawn=np.stack([drawn for _, drawn in values], axis=-1),
    )


def _reliability(frame: pd.DataFrame, calibration: Calibration | None) -> np.ndarray:
    from scipy.special import expit

    targets, logits = targets_of(frame), logits_of(frame)
    found = np.zeros((2, NUM_BINS, 3))
    kinds = [expit(logits.astype(np.float64))] + ([] if calibration is None else [calibration.probabilities(logits)])
    for table, values in zip(found, kinds, strict=False):
        known = (targets <= 1) & ~np.isnan(values)
        probability, target = values[known], targets[known]
        bins = np.minimum((probability * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        for column, weights in enumerate((np.ones_like(probability), probability, target)):
            table[:, column] = np.bincount(bins, weights, minlength=NUM_BINS)
    return found


def _averaged(runs: Sequence[RunScores]) -> RunScores:
    """The means over repetitions on the same resamples; bins of the reliability are summed."""
    groups = [
        replace(
            same[0],
            point=np.mean([group.point for group in same], axis=0),
            drawn=np.mean([group.drawn for group in same], axis=0),
        )
        for same in zip(*(run.groups for run in runs), strict=True)
    ]
    return replace(
        runs[0],
        point=np.mean([run.point for run in runs], axis=0),
        drawn=np.mean([run.drawn for run in runs], axis=0),
        reliability=np.sum([run.reliability for run in runs], axis=0),
        groups=tuple(groups),
    )


def _key(run: Run, options: ScoreOptions) -> str:
    files = [path for path in (run.folder.predictions_file, run.folder.calibration_file) if path.exists()]
    if not files:
        raise InputError(f"{run.folder.path}: no predictions")
    return key_of(files, VERSION, asdict(options))
