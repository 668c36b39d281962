"""Plan which samples are read in every step of every epoch, by every rank.

Loaders of all tiers read by this plan, so they yield the same samples in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from datasets.augment.counter_rng import Purpose, sample_words, stream_key
from datasets.errors import InputError
from datasets.loading.balance import balanced_draws
from datasets.loading.options import SINGLE_PROCESS, LoaderOptions, ShardOptions

Indices = npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochPlan:
    """What one rank reads, a function of seed and epoch alone."""

    indices: npt.NDArray[np.uint64]
    """(N,) chosen samples, distinct."""
    options: LoaderOptions
    """Batch size, order, seed and groups."""
    shard: ShardOptions

    @classmethod
    def make(
        cls,
        indices: npt.ArrayLike,
        num_samples: int,
        where: str,
        options: LoaderOptions,
        shard: ShardOptions = SINGLE_PROCESS,
    ) -> EpochPlan:
        """Check what the user chose of the ``num_samples`` in the file ``where``.

        Raises:
            InputError: for indices outside the file, listed twice or none at all, a rank outside the world, and a
                batch smaller than the ranks.
        """
        if not 0 <= shard.rank < shard.world_size:
            raise InputError(
                f"rank {shard.rank} of {shard.world_size} processes: must lie in 0..{shard.world_size - 1}"
            )
        plan = cls(indices=checked_indices(indices, num_samples, where), options=options, shard=shard)
        assert len(plan.sizes) > 0
        return plan

    @cached_property
    def sizes(self) -> list[int]:
        """Samples of each step over all ranks together.

        A last ragged batch is kept, but in training not one with fewer samples than ranks: every rank takes part in
        each optimiser step. In evaluation a rank may have no part in it.

        Raises:
            InputError: when a batch, or the whole epoch in training, cannot give every rank a sample.
        """
        num_samples, world_size, batch_size = len(self.indices), self.shard.world_size, self.options.batch_size
        if batch_size < world_size:
            raise InputError(
                f"batch_size = {batch_size}: a batch needs at least one image for each of {world_size} processes"
            )
        full, rest = divmod(num_samples, batch_size)
        sizes = [batch_size] * full + [rest] * (rest >= (world_size if self.options.shuffle else 1))
        if not sizes:
            raise InputError(f"{num_samples} images cannot be shared by {world_size} processes")
        return sizes

    @property
    def share(self) -> int:
        """Samples of a full step for this rank."""
        return len(self._own(np.arange(self.options.batch_size)))

    def batches(self, epoch: int, start_step: int = 0) -> list[Indices]:
        """This rank's samples of each step from ``start_step`` on; only a last one in evaluation can be empty.

        With ``groups`` they are draw numbers (``datasets.loading.balance``).

        Step g of all ranks together is ``order[g * batch_size:][:batch_size]``.

        Raises:
            InputError: for a start outside the epoch.
        """
        if not 0 <= start_step <= len(self.sizes):
            raise InputError(f"start_step = {start_step}: the epoch has steps 0..{len(self.sizes) - 1}")
        groups, seed = self.options.groups, self.options.seed
        drawn = balanced_draws(groups, len(self.indices), seed, epoch) if groups else self.indices
        order = epoch_order(drawn, seed, epoch) if self.options.shuffle else self.indices
        starts = range(0, len(order), self.options.batch_size)
        steps = list(zip(starts, self.sizes, strict=False))  # without a ragged batch that training leaves out
        return [self._own(order[start : start + size]) for start, size in steps[start_step:]]

    def _own(self, step: Indices) -> Indices:
        """This rank's contiguous share of a step: equal ones in rank order, the first take one more of the rest."""
        least, rest = divmod(len(step), self.shard.world_size)
        first = self.shard.rank * least + min(self.shard.rank, rest)
        return step[first : first + least + (self.shard.rank < rest)]


def checked_indices(indices: npt.ArrayLike, num_samples: int, where: str) -> npt.NDArray[np.uint64]:
    """Sample indices as FFCV wants them: one contiguous uint64 array.

    Raises:
        InputError: for an empty, non-integer or two-dimensional array, an index outside 0..num_samples-1 or one that
            occurs twice.
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
