"""Bootstrap runs over test patients, keep the results in the report's folder, and pair them.

Two runs on one test split are scored on the same resamples (see ``harness.evaluation.bootstrap``), so their
difference is a paired one.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import InputError
from datasets.files import replacing
from harness.evaluation.bootstrap import bootstrap_auroc, mean_of_defined, percentile_interval
from launch.report.read.collect import Run
from launch.report.read.predictions import SplitPredictions, read_predictions

VERSION = 1
"""Raised when the numbers of equal predictions change."""
CACHE_NAME = ".bootstrap"


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
    auroc = bootstrap_auroc(predictions.logits, predictions.targets, predictions.patients, resamples=count, seed=seed)
    return Resampled(
        labels=predictions.labels,
        test_set=predictions.test_set,
        num_images=len(predictions.index),
        num_patients=len(np.unique(predictions.patients)),
        positives=(predictions.targets == 1).sum(axis=0),
        point=auroc.point,
        drawn=auroc.drawn,
    )


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
    found = []
    for first, second, differences in zip(*points, (drawn[1] - drawn[0]).T, strict=True):
        low, high = percentile_interval(differences) or (np.nan, np.nan)
        usable = int(np.isfinite(differences).sum())
        found.append(Interval(float(first), float(second), float(second - first), low, high, usable))
    return found


def _with_mean(values: np.ndarray) -> np.ndarray:
    """(B, L) with the mean of the defined labels as one more column; NaN where there is none."""
    return np.column_stack([values, mean_of_defined(values)])


@dataclass(frozen=True)
class Bootstrap:
    """How often and from which seed patients are drawn, and where the results are kept."""

    count: int
    seed: int
    cache: Path
    seconds: float | None = None
    """Time after which no further pair of runs is computed anew; None for as long as it takes."""

    def of(self, run: Run) -> Resampled:
        """Resampled AUROC of a finished run, computed when the predictions are new or have changed.

        Raises:
            InputError: when the predictions cannot be used.
        """
        found = self.kept(run)
        if found is None:
            predictions = read_predictions(run.folder.predictions_file)
            found = resample(predictions, count=self.count, seed=self.seed)
            values: dict[str, Any] = {field.name: np.asarray(getattr(found, field.name)) for field in fields(found)}
            with replacing(self._file(run)) as partial, partial.open("wb") as file:
                np.savez(file, key=np.asarray(self._key(run)), **values)
        return found

    def kept(self, run: Run) -> Resampled | None:
        """What was computed of these very predictions before; None when nothing was, or nothing of use is left.

        Raises:
            InputError: when there are no predictions.
        """
        key = self._key(run)
        try:
            with np.load(self._file(run), allow_pickle=False) as file:
                if str(file["key"]) != key:
                    return None
                return Resampled(
                    labels=tuple(map(str, file["labels"])),
                    test_set=str(file["test_set"]),
                    num_images=int(file["num_images"]),
                    num_patients=int(file["num_patients"]),
                    positives=file["positives"],
                    point=file["point"],
                    drawn=file["drawn"],
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def _file(self, run: Run) -> Path:
        return self.cache / f"{run.run_id}.npz"

    def _key(self, run: Run) -> str:
        path = run.folder.predictions_file
        try:
            stat = path.stat()
        except OSError:
            raise InputError(f"{path.name}: no such file") from None
        return f"{VERSION} {self.count} {self.seed} {stat.st_size} {stat.st_mtime_ns}"
