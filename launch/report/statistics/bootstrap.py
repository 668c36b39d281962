"""Bootstrap runs over test patients, keep the results in the report's folder, and pair them.

Two runs on one test split are scored on the same resamples (see ``harness.evaluation.bootstrap``), so their
difference is a paired one.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.errors import InputError
from datasets.files import replacing
from harness.evaluation.bootstrap import bootstrap_auroc, mean_of_defined, percentile_interval
from launch.report.read.collect import Run

VERSION = 1
"""Raised when the numbers of equal predictions change."""
CACHE_NAME = ".bootstrap"
TARGET, LOGIT = "target:", "logit:"


@dataclass(frozen=True, eq=False, kw_only=True)
class SplitPredictions:
    """What one network says of the N images of a test split, for L labels."""

    labels: tuple[str, ...]
    index: np.ndarray
    """Sample indices (N,) int64, ascending and unique."""
    patients: np.ndarray
    """Patient ids (N,) of str."""
    targets: np.ndarray
    """(N, L) uint8: 0, 1, or another value where the label is left out."""
    logits: np.ndarray
    """(N, L) float32, finite."""

    @property
    def test_set(self) -> str:
        """Hash over everything but the logits: predictions of the same images and labels have the same."""
        digest = hashlib.sha256("\0".join(self.labels).encode())
        digest.update(self.index.astype("<i8").tobytes())
        digest.update("\0".join(self.patients).encode())
        digest.update(self.targets.tobytes())
        return digest.hexdigest()


def read_predictions(path: Path) -> SplitPredictions:
    """Read and check one predictions.parquet; its rows are put in the order of the sample index.

    Raises:
        InputError: when it is absent, no parquet file, or lacks what it must hold.
    """
    import pandas as pd
    import pyarrow as pa

    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise InputError(f"{path.name}: no such file") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path.name}: not a parquet file that can be read ({reason})") from None
    names = [str(name) for name in frame.columns]
    labels = tuple(name.removeprefix(TARGET) for name in names if name.startswith(TARGET))
    if not labels or frame.empty or not {"index", "patient", *(LOGIT + label for label in labels)} <= set(names):
        raise InputError(f"{path.name}: expected rows of index, patient, target:LABEL and logit:LABEL")
    frame = frame.sort_values("index", kind="stable")
    if frame["index"].duplicated().any():
        raise InputError(f"{path.name}: an image stands in it twice")
    logits = frame[[LOGIT + label for label in labels]].to_numpy(dtype=np.float32)
    if not np.isfinite(logits).all():
        raise InputError(f"{path.name}: logits that are not finite")
    return SplitPredictions(
        labels=labels,
        index=frame["index"].to_numpy(dtype=np.int64),
        patients=frame["patient"].astype(str).to_numpy(dtype=np.str_),
        targets=frame[[TARGET + label for label in labels]].to_numpy(dtype=np.uint8),
        logits=logits,
    )


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
            found = resample(read_predictions(run.folder.predictions_file), count=self.count, seed=self.seed)
            with replacing(self._file(run)) as partial, partial.open("wb") as file:
                np.savez(file, key=self._key(run), **asdict(found))
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
                found = {field.name: file[field.name] for field in fields(Resampled)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        plain = {name: found[name].item() for name in ("test_set", "num_images", "num_patients")}
        return Resampled(**{**found, **plain, "labels": tuple(found["labels"].tolist())})

    def _file(self, run: Run) -> Path:
        return self.cache / f"{run.run_id}.npz"

    def _key(self, run: Run) -> str:
        path = run.folder.predictions_file
        try:
            stat = path.stat()
        except OSError:
            raise InputError(f"{path.name}: no such file") from None
        return f"{VERSION} {self.count} {self.seed} {stat.st_size} {stat.st_mtime_ns}"
