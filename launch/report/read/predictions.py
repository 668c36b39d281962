"""Read a run's predictions.parquet into checked arrays, in the order of the sample index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

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

    @cached_property
    def test_set(self) -> str:
        """Hash over everything but the logits: predictions of the same images and labels have the same."""
        digest = hashlib.sha256("\0".join(self.labels).encode())
        digest.update(self.index.astype("<i8").tobytes())
        digest.update("\0".join(self.patients).encode())
        digest.update(self.targets.tobytes())
        return digest.hexdigest()


def read_predictions(path: Path) -> SplitPredictions:
    """Read and check one file.

    Raises:
        InputError: when it is absent, no parquet file, or lacks what it must hold.
    """
    frame = _read(path)
    names = [str(name) for name in frame.columns]
    labels = tuple(name.removeprefix(TARGET) for name in names if name.startswith(TARGET))
    wanted = {"index", "patient", *(LOGIT + label for label in labels)}
    if not labels or not wanted <= set(names) or frame.empty:
        raise InputError(f"{path.name}: expected rows of index, patient, target:LABEL and logit:LABEL")
    frame = frame.sort_values("index", kind="stable")
    index = frame["index"].to_numpy()
    if len(np.unique(index)) != len(index):
        raise InputError(f"{path.name}: an image stands in it twice")
    logits = frame[[LOGIT + label for label in labels]].to_numpy(dtype=np.float32)
    if not np.isfinite(logits).all():
        raise InputError(f"{path.name}: logits that are not finite")
    return SplitPredictions(
        labels=labels,
        index=index.astype(np.int64),
        patients=frame["patient"].astype(str).to_numpy(dtype=np.str_),
        targets=frame[[TARGET + label for label in labels]].to_numpy(dtype=np.uint8),
        logits=logits,
    )


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise InputError(f"{path.name}: no such file") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path.name}: not a parquet file that can be read ({str(error).splitlines()[0]})") from None
