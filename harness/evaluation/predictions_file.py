"""Write and read the predictions of one split as parquet.

A row for each image, by its index in the beton: ``index``, ``path``, ``patient``, then what the samples table says of
it (``view``, ``sex``, ``age``, and attributes of its dataset such as ``site``; files of older code have none of
these), then ``target:LABEL`` (uint8, 255 is ignored) and ``logit:LABEL`` (float32).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from datasets.beton.reader import Beton
from datasets.beton.sidecar import attribute_columns
from datasets.errors import InputError
from datasets.files import regular, replacing

if TYPE_CHECKING:
    from harness.evaluation.inference import Predictions

TARGET, LOGIT = "target:", "logit:"


def write_predictions(path: Path, beton: Beton, predictions: Predictions) -> None:
    """Write the predictions of a split of ``beton``, whole or not at all."""
    targets = pd.DataFrame(predictions.targets, columns=[TARGET + label for label in beton.labels])
    logits = pd.DataFrame(predictions.logits, columns=[LOGIT + label for label in beton.labels])
    _write(path, beton, predictions.indices, pd.concat([targets, logits], axis=1))


def add_attributes(path: Path, beton: Beton) -> bool:
    """Put the attributes of ``beton`` into a file that lacks any; return whether it was rewritten.

    Raises:
        InputError: when the file cannot be read.
    """
    frame = read_predictions(path)
    if set(attribute_columns(beton.samples)) <= set(frame):
        return False
    values = [name for name in frame if str(name).startswith((TARGET, LOGIT))]
    _write(path, beton, frame["index"].to_numpy(), frame[values].reset_index(drop=True))
    return True


def _write(path: Path, beton: Beton, indices: np.ndarray, values: pd.DataFrame) -> None:
    columns = ["path", "patient", *attribute_columns(beton.samples)]
    samples = beton.samples.set_index("index").loc[indices, columns].reset_index()
    with replacing(path) as partial:
        pd.concat([samples, values], axis=1).to_parquet(partial, index=False)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read and check one file; rows by ``index``.

    Raises:
        InputError: when it is absent, no parquet file, or lacks what it must hold.
    """
    regular(path)
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path.name}: not a parquet file that can be read ({reason})") from None
    labels = labels_of(frame)
    if not labels or frame.empty or not {"index", "patient", *(LOGIT + label for label in labels)} <= set(frame):
        raise InputError(f"{path.name}: expected rows of index, patient, target:LABEL and logit:LABEL")
    if frame["index"].duplicated().any():
        raise InputError(f"{path.name}: an image stands in it twice")
    if not np.isfinite(logits_of(frame)).all():
        raise InputError(f"{path.name}: logits that are not finite")
    return frame.sort_values("index", kind="stable")


def labels_of(frame: pd.DataFrame) -> tuple[str, ...]:
    """The labels of a frame of predictions."""
    return tuple(str(name).removeprefix(TARGET) for name in frame.columns if str(name).startswith(TARGET))


def targets_of(frame: pd.DataFrame) -> np.ndarray:
    """(N, L) uint8, in the order of ``labels_of``."""
    return frame[[TARGET + label for label in labels_of(frame)]].to_numpy(dtype=np.uint8)


def logits_of(frame: pd.DataFrame) -> np.ndarray:
    """(N, L) float32, in the order of ``labels_of``."""
    return frame[[LOGIT + label for label in labels_of(frame)]].to_numpy(dtype=np.float32)
