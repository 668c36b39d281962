"""Draw training images so that groups of them come equally often: by a label, by all labels, or by an attribute.

An image that is drawn several times in an epoch is augmented anew each time: it is known by a draw number, its sample
index and, above ``SAMPLE_BITS``, which of its draws it is; an image's first draw may be its plain sample index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datasets.augment.counter_rng import Purpose, sample_words, stream_key
from datasets.beton.sidecar import attribute_columns
from datasets.errors import InputError
from datasets.sources.labels import POSITIVE

if TYPE_CHECKING:
    from datasets.beton.reader import Beton

Indices = npt.NDArray[np.integer]

SAMPLE_BITS = 32
SAMPLE_MASK = (1 << SAMPLE_BITS) - 1
ALL_LABELS = "labels"
MAX_GROUPS = 20


def samples_of(draws: Any) -> Any:
    """Sample indices of draw numbers, an array, a tensor or an integer; plain sample indices are their own."""
    return draws & SAMPLE_MASK


def balance_groups(beton: Beton, indices: Indices, by: str) -> dict[str, Indices]:
    """Groups of the samples ``indices`` (n,), by name; none is empty.

    ``by`` a label: its positives, and all others. By ``labels``: the positives of each label, and those without any;
    an image may be in several. By a column of the samples table: the images of each value; images without a value
    are in no group.

    Raises:
        InputError: for an unknown label or column, a column of more than ``MAX_GROUPS`` values, and a single group.
    """
    positive = beton.targets[indices] == POSITIVE
    if by == ALL_LABELS:
        found = dict(zip(beton.labels, positive.T, strict=True)) | {"none of them": ~positive.any(axis=1)}
    elif by in beton.labels:
        column = positive[:, beton.labels.index(by)]
        found = {by: column, f"not {by}": ~column}
    else:
        attributes = attribute_columns(beton.samples)
        if by not in attributes:
            known = ", ".join((ALL_LABELS, *beton.labels, *attributes))
            raise InputError(f"{beton.path}: data.balance = {by!r} is no label and no attribute; known: {known}")
        values = beton.samples[by].iloc[indices]
        names = sorted(values.dropna().unique(), key=str)
        if len(names) > MAX_GROUPS:
            raise InputError(f"{beton.path}: data.balance = {by!r} has {len(names):,} values, more than {MAX_GROUPS}")
        found = {str(name): (values == name).fillna(False).to_numpy(dtype=bool) for name in names}
    groups = {name: indices[chosen] for name, chosen in found.items() if chosen.any()}
    if len(groups) < 2:
        raise InputError(
            f"{beton.path}: data.balance = {by!r}: the training images are all in one group; leave it out"
        )
    return groups


def balanced_draws(groups: tuple[Indices, ...], count: int, seed: int, epoch: int) -> npt.NDArray[np.uint64]:
    """(count,) distinct draw numbers of an epoch: each group has its equal part, give or take one.

    Within a group images come equally often, give or take one, and which come once more is a function of seed and
    epoch alone. The order is not that of training.
    """
    key = stream_key(seed, epoch, Purpose.BALANCE)
    least, rest = divmod(count, len(groups))
    chosen = []
    for number, members in enumerate(groups):
        wanted = least + ((number - epoch) % len(groups) < rest)
        passes = np.arange(-(-wanted // len(members)), dtype=np.uint64) * np.uint64(len(groups)) + np.uint64(number)
        draws = members.astype(np.uint64) | (passes[:, None] << np.uint64(SAMPLE_BITS))
        order = np.argsort(sample_words(key, draws), axis=1, kind="stable")
        chosen.append(np.take_along_axis(draws, order, axis=1).ravel()[:wanted])
    return np.concatenate(chosen)
