"""Which samples are read when: sample indices, seed and epoch come in, the batches of one process go out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datasets.augment.counter_rng import Purpose, sample_words, stream_key
from datasets.errors import InputError

Indices = npt.NDArray[np.integer]


def checked_indices(indices: npt.ArrayLike, num_samples: int, where: str) -> npt.NDArray[np.uint64]:
    """Sample indices as FFCV wants them: one contiguous uint64 array.

    Raises:
        InputError: for an empty, non-integer or two-dimensional array, an index outside 0..num_samples-1 (which the
            compiled reader would follow blindly) or one that occurs twice.
    """
    array = np.asarray(indices)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{where}: expected a list of sample indices that is not empty, got shape {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{where}: sample indices must be integers, not {array.dtype}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= num_samples:
        wrong = low if low < 0 else high
        raise InputError(f"{where}: no sample {wrong}; the file holds samples 0..{num_samples - 1}")
    values, counts = np.unique(array, return_counts=True)
    if values.size < array.size:
        raise InputError(f"{where}: sample {int(values[counts.argmax()])} is listed more than once")
    return np.ascontiguousarray(array, dtype=np.uint64)


def epoch_order(indices: Indices, seed: int, epoch: int) -> Indices:
    """``indices`` (N,) in the random order of one epoch.

    Samples are sorted by the hash of their number, so the order depends on seed, epoch and the set of samples alone:
    not on how they were listed, on the number of processes, or on NumPy's generators.
    """
    words = sample_words(stream_key(seed, epoch, Purpose.ORDER), indices)
    ordered: Indices = indices[np.argsort(words, kind="stable")]
    return ordered


def share_size(num_samples: int, rank: int, world_size: int) -> int:
    """How many of ``num_samples`` belong to ``rank``: equal shares, the first ranks take one more of the rest."""
    return num_samples // world_size + int(rank < num_samples % world_size)


def global_sizes(num_samples: int, batch_size: int, world_size: int, *, training: bool) -> list[int]:
    """Samples of each step over all ranks together.

    A last ragged batch is kept, but in training not one with fewer samples than ranks: every rank takes part in each
    optimiser step. In evaluation it is kept always, and a rank may then have no part in the last step.

    Raises:
        InputError: when a batch, or the whole epoch in training, cannot give every rank a sample.
    """
    if batch_size < world_size:
        raise InputError(
            f"batch_size = {batch_size}: a batch needs at least one image for each of {world_size} processes"
        )
    full, rest = divmod(num_samples, batch_size)
    sizes = [batch_size] * full
    if rest and (rest >= world_size or not training):
        sizes.append(rest)
    if not sizes:
        raise InputError(f"{num_samples} images cannot be shared by {world_size} processes")
    return sizes


def rank_batches(order: Indices, batch_size: int, rank: int, world_size: int, *, training: bool) -> list[Indices]:
    """The samples of each step for one rank; step g of all ranks together is ``order[g*batch_size:][:batch_size]``.

    Each rank takes a contiguous share of the global batch, in rank order, so that the ranks' shares laid one after
    another are the batch of a single process. Only the last share can be empty, and only in evaluation.
    """
    batches = []
    for step, size in enumerate(global_sizes(len(order), batch_size, world_size, training=training)):
        first = sum(share_size(size, lower, world_size) for lower in range(rank))
        start = step * batch_size + first
        batches.append(order[start : start + share_size(size, rank, world_size)])
    return batches
