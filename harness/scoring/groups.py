"""Divide images into groups by what is known of their patients: sex, age, view, site, and pairs of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from datasets.errors import InputError, known_words
from harness.evaluation.predictions_file import LOGIT, TARGET

AGE_BANDS = (0, 18, 40, 60, 80)
"""First year of each band."""
MAX_GROUPS = 20
"""An attribute with more values than this, as a device's serial number, makes no groups unless it is asked for."""
_PLAIN = ("index", "path", "patient")


@dataclass(frozen=True, eq=False)
class Partition:
    """Groups of images by one attribute, or by two together; images of which it is unknown are in none."""

    by: tuple[str, ...]
    """Names of the attributes; empty for all images as one group."""
    names: tuple[str, ...]
    numbers: np.ndarray
    """(N,) int64: the place of each image's group in ``names``; -1 for none."""

    @property
    def title(self) -> str:
        return " and ".join(self.by)


def attributes_of(frame: pd.DataFrame) -> list[str]:
    """The attributes that a frame of predictions has."""
    return [str(name) for name in frame if name not in _PLAIN and not str(name).startswith((TARGET, LOGIT))]


def partitions(frame: pd.DataFrame, by: Sequence[str] | None = None, *, pairs: bool = True) -> list[Partition]:
    """All images, then the groups by each attribute, then by each pair of them.

    Args:
        frame: predictions.
        by: the attributes; None for all that have 2 to ``MAX_GROUPS`` values.
        pairs: whether pairs of attributes are there too.

    Raises:
        InputError: when the frame has no attribute of such a name.
    """
    known = attributes_of(frame)
    unknown = [name for name in by or () if name not in known]
    if unknown:
        raise InputError(
            f"--by {unknown[0]}: the predictions have no such attribute; {known_words(unknown[0], known)}"
        )
    single = [_by_one(frame, name) for name in dict.fromkeys(known if by is None else by)]
    if by is None:
        single = [part for part in single if 2 <= len(part.names) <= MAX_GROUPS]
    both = [_by_two(*two) for two in combinations(single, 2) if pairs]
    return [Partition((), ("all",), np.zeros(len(frame), np.int64)), *single, *both]


def _by_one(frame: pd.DataFrame, name: str) -> Partition:
    if name == "age":
        ends = [*AGE_BANDS[1:], 1000]
        names = [f"{first}-{end - 1}" for first, end in zip(AGE_BANDS, ends, strict=True)]
        names[-1] = f"{AGE_BANDS[-1]}+"
        values = pd.cut(frame[name].astype("Float64"), [*AGE_BANDS, 1000], right=False, labels=names)
    else:
        values = (
            frame[name]
            .astype("str")
            .where(frame[name].notna() & (frame[name].astype("str") != ""))
            .astype("category")
        )
    values = values.cat.remove_unused_categories()
    return Partition((name,), tuple(map(str, values.cat.categories)), values.cat.codes.to_numpy(np.int64))


def _by_two(first: Partition, second: Partition) -> Partition:
    both = (first.numbers >= 0) & (second.numbers >= 0)
    codes = np.where(both, first.numbers * len(second.names) + second.numbers, -1)
    present = np.unique(codes[both])
    names = [
        f"{first.names[code // len(second.names)]}, {second.names[code % len(second.names)]}" for code in present
    ]
    numbers = np.where(both, np.searchsorted(present, codes), -1)
    return Partition((*first.by, *second.by), tuple(names), numbers)
