"""Runs come in; their resampled AUROC goes out, kept in the report's folder while predictions stay the same."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import InputError
from datasets.files import replacing
from launch.report.read.collect import Run
from launch.report.read.predictions import read_predictions
from launch.report.statistics.bootstrap import Resampled, resample

VERSION = 1
"""Raised when the numbers of equal predictions change."""
CACHE_NAME = ".bootstrap"


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
            _save(self._file(run), self._key(run), found)
        return found

    def kept(self, run: Run) -> Resampled | None:
        """What was computed of these very predictions before; None when nothing was.

        Raises:
            InputError: when there are no predictions.
        """
        return _load(self._file(run), self._key(run))

    def _file(self, run: Run) -> Path:
        return self.cache / f"{run.run_id}.npz"

    def _key(self, run: Run) -> str:
        path = run.folder.predictions_file
        try:
            stat = path.stat()
        except OSError:
            raise InputError(f"{path.name}: no such file") from None
        return f"{VERSION} {self.count} {self.seed} {stat.st_size} {stat.st_mtime_ns}"


def _load(path: Path, key: str) -> Resampled | None:
    """What was kept under ``key``; None when there is nothing, or nothing of use."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != key:
                return None
            return Resampled(
                labels=tuple(str(label) for label in file["labels"]),
                test_set=str(file["test_set"]),
                num_images=int(file["num_images"]),
                num_patients=int(file["num_patients"]),
                positives=file["positives"],
                point=file["point"],
                drawn=file["drawn"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _save(path: Path, key: str, found: Resampled) -> None:
    values: dict[str, Any] = {field.name: np.asarray(getattr(found, field.name)) for field in fields(found)}
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, key=np.asarray(key), **values)
