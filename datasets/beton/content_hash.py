"""Hash what a beton says, however it is laid out, and count its labels and splits."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from datasets.sources.labels import SPLITS
from datasets.sources.tables import values_of


def content_hash(
    samples: pd.DataFrame, targets: np.ndarray, digests: Iterable[bytes], *, labels: Sequence[str], image_size: int
) -> str:
    """``sha256:<hex>`` over label names and image size, then name, patient, split, rank, labels and page of each.

    The name, not the path, stands for an image, so that copies of a dataset in other folders give the same hash.

    Args:
        samples: columns name, patient, split, subset_rank, in index order.
        targets: (N, L) uint8.
        digests: SHA-256 of each page's bytes, in the same order.
        labels: names of the L labels.
        image_size: side of a page in pixels.
    """
    total = hashlib.sha256()
    total.update(_line({"labels": list(labels), "image_size": image_size}))
    columns = [values_of(samples[name]) for name in ("name", "patient", "split", "subset_rank")]
    for row, target, digest in zip(zip(*columns, strict=True), np.ascontiguousarray(targets), digests, strict=True):
        total.update(_line(row))
        total.update(target.tobytes())
        total.update(digest)
    return f"sha256:{total.hexdigest()}"


def count_labels(targets: np.ndarray, labels: Sequence[str], value: int) -> dict[str, int]:
    """How many of (N, L) uint8 targets equal ``value``, by label."""
    counts = (targets == value).sum(axis=0)
    return {label: int(count) for label, count in zip(labels, counts, strict=True)}


def count_splits(splits: Iterable[str]) -> dict[str, int]:
    """Samples of each split: train, validation, test first, then any other by name."""
    found = Counter(map(str, splits))
    return {name: found[name] for name in (*SPLITS, *sorted(set(found) - set(SPLITS)))}


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
