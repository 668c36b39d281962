"""Orders and shares: permutations, the same global batches for any number of ranks, refusals in one line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import InputError
from datasets.loading.epoch_plan import EpochPlan, checked_indices, epoch_order
from datasets.loading.options import LoaderOptions, ShardOptions

quick = settings(deadline=None, max_examples=60)


def plan(num_samples: int, batch_size: int, rank: int, world_size: int, *, training: bool) -> EpochPlan:
    options = LoaderOptions(batch_size=batch_size, shuffle=training)
    return EpochPlan.make(np.arange(num_samples), num_samples, "x.beton", options, ShardOptions(rank, world_size))


@quick
@given(st.sets(st.integers(0, 10_000), min_size=1), st.integers(0, 2**32), st.integers(0, 200))
def test_an_order_is_a_permutation_that_ignores_how_samples_were_listed(
    samples: set[int], seed: int, epoch: int
) -> None:
    indices = np.array(sorted(samples), dtype=np.uint64)
    order = epoch_order(indices, seed, epoch)
    assert np.array_equal(np.sort(order), indices)
    assert np.array_equal(order, epoch_order(indices[::-1], seed, epoch))


def test_orders_differ_by_epoch_and_seed_and_never_shift() -> None:
    indices = np.arange(500)
    orders = [epoch_order(indices, seed, epoch).tolist() for seed in range(4) for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 16


def test_an_order_is_pinned() -> None:
    """Results of stored runs depend on it, so it may never change with a library's version."""
    assert epoch_order(np.arange(8), 0, 0).tolist() == [1, 6, 5, 4, 3, 7, 2, 0]


def test_each_place_is_equally_likely() -> None:
    firsts = [int(epoch_order(np.arange(10), 1, epoch)[0]) for epoch in range(5000)]
    assert np.abs(np.bincount(firsts, minlength=10) - 500).max() < 100


@quick
@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 8), st.booleans())
def test_ranks_together_make_the_batches_of_one_process(
    num_samples: int, batch_size: int, world_size: int, training: bool
) -> None:
    if batch_size < world_size or (training and num_samples < world_size):
        with pytest.raises(InputError):
            plan(num_samples, batch_size, 0, world_size, training=training)
        return
    plans = [plan(num_samples, batch_size, rank, world_size, training=training) for rank in range(world_size)]
    ranks = [one.batches(0) for one in plans]
    steps = [np.concatenate(shares) for shares in zip(*ranks, strict=True)]
    assert [len(step) for step in steps] == plans[-1].sizes
    assert [len(rank[0]) for rank in ranks if num_samples >= batch_size] == [
        one.share for one in plans if num_samples >= batch_size
    ]
    order = epoch_order(np.arange(num_samples), 0, 0) if training else np.arange(num_samples)
    together = np.concatenate(steps)
    assert np.array_equal(together, order[: len(together)])
    sizes = [[len(share) for share in rank] for rank in ranks]
    assert all(len(set(rank[:-1])) <= 1 and max(rank) == rank[0] for rank in sizes)
    if training:
        assert min(min(rank) for rank in sizes) >= 1
        assert num_samples - len(together) < world_size
    else:
        assert len(together) == num_samples


def test_the_last_ragged_batch() -> None:
    assert plan(10, 4, 0, 2, training=True).sizes == [4, 4, 2]
    assert plan(9, 4, 0, 2, training=True).sizes == [4, 4]
    assert plan(9, 4, 0, 2, training=False).sizes == [4, 4, 1]
    shares = plan(9, 4, 1, 2, training=False).batches(0)
    assert [share.tolist() for share in shares] == [[2, 3], [6, 7], []]


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "not empty"),
        ([[1, 2]], "not empty"),
        ([0, 10], r"no sample 10; the file holds samples 0\.\.9"),
        ([-1, 3], "no sample -1"),
        ([1.0, 2.0], "must be integers"),
        ([True, False], "must be integers"),
        ([4, 2, 4], "sample 4 is listed more than once"),
        (np.array([2**63], dtype=np.uint64), "no sample 9223372036854775808"),
    ],
)
def test_indices_that_ffcv_would_follow_blindly_are_refused(indices: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_indices(np.asarray(indices), 10, "x.beton")


def test_indices_become_contiguous_uint64() -> None:
    checked = checked_indices(np.arange(10)[::2], 10, "x.beton")
    assert checked.dtype == np.uint64 and checked.flags.c_contiguous and checked.tolist() == [0, 2, 4, 6, 8]
