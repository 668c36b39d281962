"""Chosen samples, batch size, seed and rank come in; the samples of every step of every epoch go out.

All tiers of loaders read by this plan, so they hand out the same samples in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from datasets.errors import InputError
from datasets.loading.order import Indices, checked_indices, epoch_order, global_sizes, rank_batches, share_size


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochPlan:
    """What one of ``world_size`` ranks reads, a function of seed and epoch alone."""

    indices: npt.NDArray[np.uint64]
    """(N,) chosen samples, distinct."""
    batch_size: int
    """Images of one step over all ranks."""
    seed: int
    shuffle: bool
    """Training: a new order each epoch, and every rank takes part in every step. Else the given order, all of it."""
    rank: int
    world_size: int

    @classmethod
    def make(
        cls,
        indices: npt.ArrayLike,
        num_samples: int,
        where: str,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        rank: int,
        world_size: int,
    ) -> EpochPlan:
        """Check what the user chose of the ``num_samples`` in the file ``where``.

        Raises:
            InputError: for indices outside the file, listed twice or none at all, a rank outside the world, and a
                batch smaller than the ranks.
        """
        if not 0 <= rank < world_size:
            raise InputError(f"rank {rank} of {world_size} processes: must lie in 0..{world_size - 1}")
        chosen = checked_indices(indices, num_samples, where)
        plan = cls(
            indices=chosen, batch_size=batch_size, seed=seed, shuffle=shuffle, rank=rank, world_size=world_size
        )
        assert len(plan.sizes) > 0
        return plan

    @cached_property
    def sizes(self) -> list[int]:
        """Samples of each step over all ranks together."""
        return global_sizes(len(self.indices), self.batch_size, self.world_size, training=self.shuffle)

    @property
    def share(self) -> int:
        """Samples of a full step for this rank."""
        return share_size(self.batch_size, self.rank, self.world_size)

    def batches(self, epoch: int, start_step: int = 0) -> list[Indices]:
        """This rank's samples of each step from ``start_step`` on; only a last one in evaluation can be empty.

        Raises:
            InputError: for a start outside the epoch.
        """
        if not 0 <= start_step <= len(self.sizes):
            raise InputError(f"start_step = {start_step}: the epoch has steps 0..{len(self.sizes) - 1}")
        order = epoch_order(self.indices, self.seed, epoch) if self.shuffle else self.indices
        return rank_batches(order, self.batch_size, self.rank, self.world_size, training=self.shuffle)[start_step:]
