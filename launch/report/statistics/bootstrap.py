"""Bootstrap runs over test patients, keep the results in the report's folder, and pair them.

Two runs on one test split are scored on the same resamples (see ``harness.scoring.bootstrap``), so their
difference is a paired one.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from datasets.errors import InputError
from harness.evaluation.predictions_file import labels_of, logits_of, read_predictions, targets_of
from harness.scoring.bootstrap import bootstrap_auroc, mean_of_defined, percentile_interval
from launch.report.read.collect import Run
from launch.report.statistics.kept import WITH_ARRAYS, keep, kept, key_of
from launch.report.statistics.sources import bootstrap_p, delong_p, holm, mixed_interval, placements

VERSION = 1
"""Raised when the numbers of equal predictions change."""
CACHE_NAME = ".bootstrap"


@dataclass(frozen=True, eq=False, kw_only=True)
class Resampled:
    """AUROC of one run."""

    __pydantic_config__ = WITH_ARRAYS
    labels: tuple[str, ...]
    test_set: str
    """Hash over indices, patients, labels and targets; only runs with the same may be paired."""
    num_images: int
    num_patients: int
    positives: np.ndarray
    """(L,) positive images of each label."""
    point: np.ndarray
    """(L,) float64: AUROC on the test split itself; NaN for a label with one class."""
    drawn: np.ndarray
    """(B, L) float64: AUROC on each resample; NaN where the resample holds one class."""
    targets: np.ndarray
    """(N, L) uint8: 1 positive, 0 negative, by image."""
    placements: np.ndarray
    """(N, L) int32: ``sources.placements`` by image."""


class Interval(NamedTuple):
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
    p: float
    """Two-sided, of the bootstrap over patients."""
    p_holm: float
    """``p`` with Holm's correction over the labels; NaN for their mean, which is no member of that family."""
    p_delong: float
    """Of DeLong's test, which takes images for independent; NaN for the mean."""
    sd_seeds: float
    """Standard deviation of ``difference`` by seeds; NaN when a method has one repetition alone."""
    sd_patients: float
    """Standard deviation of ``difference`` by patients, repetitions averaged."""
    mixed_low: float
    """95 % interval over seeds and patients (``sources.mixed_interval``)."""
    mixed_high: float


def resample(predictions: pd.DataFrame, *, count: int, seed: int) -> Resampled:
    """AUROC on the test split and on ``count`` resamples of its patients; ``predictions`` as they are read."""
    labels, targets = labels_of(predictions), targets_of(predictions)
    patients = predictions["patient"].astype(str).to_numpy(dtype=np.str_)
    digest = hashlib.sha256("\0".join(labels).encode())
    digest.update(predictions["index"].to_numpy(dtype="<i8").tobytes())
    digest.update("\0".join(patients).encode())
    digest.update(targets.tobytes())
    logits = logits_of(predictions)
    auroc = bootstrap_auroc(logits, targets, patients, resamples=count, seed=seed)
    return Resampled(
        labels=labels,
        test_set=digest.hexdigest(),
        num_images=len(targets),
        num_patients=len(np.unique(patients)),
        positives=(targets == 1).sum(axis=0),
        point=auroc.point,
        drawn=auroc.drawn,
        targets=targets,
        placements=np.stack(list(map(placements, logits.T, targets.T)), axis=1),
    )


def paired_intervals(base: list[Resampled], other: list[Resampled]) -> list[Interval]:
    """``other`` minus ``base`` for each label, then for the mean over the labels; repetitions are averaged first.

    The mean is over the labels that have an AUROC on the resample, the same for both methods.

    Raises:
        ValueError: when the repetitions are not of one test split.
    """
    if len({run.test_set for run in (*base, *other)}) != 1:
        raise ValueError("paired runs must be of one test split")
    points = [_with_mean(np.stack([run.point for run in runs])) for runs in (base, other)]
    means = [_with_mean(np.mean([run.point for run in runs], axis=0)[None])[0] for runs in (base, other)]
    drawn = [_with_mean(np.mean([run.drawn for run in runs], axis=0)) for runs in (base, other)]
    by_label = (drawn[1] - drawn[0]).T
    p_values = [bootstrap_p(differences) for differences in by_label]
    adjusted, delong = [*holm(p_values[:-1]), math.nan], [*_delong(base, other), math.nan]
    found = []
    for i, differences in enumerate(by_label):
        usable = differences[np.isfinite(differences)]
        low, high = percentile_interval(differences) or (np.nan, np.nan)
        sources = mixed_interval(points[0][:, i], points[1][:, i], float(usable.std()) if len(usable) else math.nan)
        first, second = (float(values[i]) for values in means)
        tests = (p_values[i], adjusted[i], delong[i])
        found.append(Interval(first, second, second - first, low, high, len(usable), *tests, *sources))
    return found


def _delong(base: list[Resampled], other: list[Resampled]) -> list[float]:
    """The p-value of DeLong's test for each label; NaN for a label with one class."""
    targets, labels = base[0].targets, range(len(base[0].labels))
    sides = [np.stack([run.placements for run in runs]) for runs in (base, other)]
    return [delong_p(sides[0][:, :, i], sides[1][:, :, i], targets[:, i]) for i in labels]


def _with_mean(values: np.ndarray) -> np.ndarray:
    """(B, L) with the mean of the defined labels as one more column; NaN where there is none."""
    return np.column_stack([values, mean_of_defined(values)])


@dataclass(frozen=True)
class Bootstrap:
    """How often and from which seed patients are drawn, and where the results are kept."""

    count: int
    seed: int
    cache: Path
    seconds: float = math.inf
    """Time after which no further pair of runs is computed anew."""

    def of(self, run: Run) -> Resampled:
        """Resampled AUROC of a finished run, computed when the predictions are new or have changed.

        Raises:
            InputError: when the predictions cannot be used.
        """
        found = self.kept(run)
        if found is None:
            found = resample(read_predictions(run.folder.predictions_file), count=self.count, seed=self.seed)
            keep(self._place(run), self._key(run), found)
        return found

    def kept(self, run: Run) -> Resampled | None:
        """What was computed of these very predictions before; None when nothing was, or nothing of use is left.

        Raises:
            InputError: when there are no predictions.
        """
        return kept(self._place(run), self._key(run), Resampled)

    def _place(self, run: Run) -> Path:
        return self.cache / f"{run.run_id}.npz"

    def _key(self, run: Run) -> str:
        path = run.folder.predictions_file
        if not path.exists():
            raise InputError(f"{path.name}: no such file")
        return key_of([path], VERSION, self.count, self.seed)
