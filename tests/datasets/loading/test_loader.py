"""What the loader hands out: the same pixels, order and global batches whatever the threads, batches and ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rotated_pages import warp_page
from small_beton import small_pages, small_targets, write_small_beton

from datasets.augment.policy import Augment, draw
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.loading.batch import Batch, Loader
from datasets.loading.epoch_plan import epoch_order
from datasets.loading.options import LoaderOptions, ShardOptions
from datasets.loading.tiers import open_tier

N = 101
PAGES, TARGETS = small_pages(N, 32), small_targets(N)
AUGMENT = Augment(15.0, 0.5)


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    return write_small_beton(tmp_path_factory.mktemp("loader"), N)


def opened(beton: Beton, indices: np.ndarray | None = None, **settings: object) -> Loader:
    """Evaluation in batches of 16 pages, as one of ``world_size`` ranks."""
    chosen = np.arange(N) if indices is None else indices
    shard = ShardOptions(settings.pop("rank", 0), settings.pop("world_size", 1))
    defaults = {"batch_size": 16, "shuffle": False, "output": "uint8", "num_workers": 2}
    return open_tier(beton, chosen, LoaderOptions(**(defaults | settings)), tier="raw", shard=shard)


def training(beton: Beton, indices: np.ndarray | None = None, **settings: object) -> Loader:
    return opened(beton, indices, **({"shuffle": True, "seed": 3, "augment": AUGMENT} | settings))


def read(loader: Loader, epoch: int = 0, start_step: int = 0) -> list[Batch]:
    with loader.epoch(epoch, start_step) as batches:
        return list(batches)


def by_sample(batches: list[Batch]) -> dict[int, torch.Tensor]:
    return {int(index): image for batch in batches for index, image in zip(batch.indices, batch.images, strict=True)}


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)
        assert torch.equal(a.indices, b.indices) and a.global_size == b.global_size


def joined(shares: tuple[Batch, ...]) -> Batch:
    images, targets, indices = (
        torch.cat([getattr(share, name) for share in shares]) for name in ("images", "targets", "indices")
    )
    return Batch(images, targets, indices, shares[0].global_size)


def test_evaluation_hands_out_each_stored_page_once_in_the_given_order(beton: Beton) -> None:
    chosen = np.random.default_rng(0).permutation(N)[:50]
    loader = opened(beton, chosen)
    batches = read(loader)
    assert len(loader) == 4
    assert [len(batch.images) for batch in batches] == [batch.global_size for batch in batches] == [16, 16, 16, 2]
    whole = joined(tuple(batches))
    images, targets, indices = whole.images, whole.targets, whole.indices
    assert images.shape == (50, 1, 32, 32) and images.dtype == targets.dtype == torch.uint8
    assert np.array_equal(images[:, 0].numpy(), PAGES[chosen])
    assert np.array_equal(targets.numpy(), TARGETS[chosen])
    assert indices.dtype == torch.int64 and np.array_equal(indices.numpy(), chosen)


def test_training_hands_out_flipped_and_rotated_pages_in_the_epoch_s_order(beton: Beton) -> None:
    batches = read(training(beton), epoch=4)
    indices = torch.cat([batch.indices for batch in batches]).numpy()
    assert np.array_equal(indices, epoch_order(np.arange(N), 3, 4))
    angles, flips, *_ = draw(3, 4, indices, AUGMENT)
    expected = np.empty((N, 32, 32), dtype=np.uint8)
    for out, index, angle, flip in zip(expected, indices, angles, flips, strict=True):
        warp_page(PAGES[index].reshape(-1), out, angle, flip)
    assert np.array_equal(torch.cat([batch.images for batch in batches])[:, 0].numpy(), expected)
    assert np.array_equal(torch.cat([batch.targets for batch in batches]).numpy(), TARGETS[indices])


def test_threads_change_nothing(beton: Beton) -> None:
    assert_equal(read(training(beton, num_workers=1)), read(training(beton, num_workers=2)))


@pytest.mark.parametrize("batch_size", [1, 7, N, 1000])
def test_batch_size_and_subset_do_not_change_a_sample_s_pixels(beton: Beton, batch_size: int) -> None:
    whole = by_sample(read(training(beton), epoch=2))
    some = np.arange(1, N, 3)[::-1]
    found = by_sample(read(training(beton, some, batch_size=batch_size), epoch=2))
    assert sorted(found) == sorted(some.tolist())
    assert all(torch.equal(image, whole[index]) for index, image in found.items())


def test_epochs_and_seeds_differ_and_repeat(beton: Beton) -> None:
    loader = training(beton)
    first, second = read(loader, 0), read(loader, 1)
    assert_equal(read(loader, 0), first)
    a, b, c = by_sample(first), by_sample(second), by_sample(read(training(beton, seed=4), 0))
    assert sum(torch.equal(a[i], b[i]) for i in a) < N / 10
    assert sum(torch.equal(c[i], b[i]) for i in a) < N / 10


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_together_read_the_batches_of_one_process(beton: Beton, world_size: int) -> None:
    alone = read(training(beton), epoch=1)
    ranks = [read(training(beton, rank=rank, world_size=world_size), epoch=1) for rank in range(world_size)]
    assert_equal([joined(shares) for shares in zip(*ranks, strict=True)], alone)


def test_evaluation_over_ranks_sees_each_sample_once_and_pads_nothing(beton: Beton) -> None:
    loaders = [opened(beton, np.arange(97), rank=rank, world_size=2) for rank in range(2)]
    ranks = [read(loader) for loader in loaders]
    seen = np.concatenate([batch.indices.numpy() for rank in ranks for batch in rank])
    assert np.array_equal(np.sort(seen), np.arange(97))
    assert [len(loader) for loader in loaders] == [7, 7]
    assert [len(rank) for rank in ranks] == [7, 6]
    assert [batch.global_size for batch in ranks[0]] == [16] * 6 + [1]


def test_an_epoch_entered_midway_is_the_tail_of_the_whole(beton: Beton) -> None:
    whole = read(training(beton), epoch=5)
    for start in range(len(whole) + 1):
        assert_equal(read(training(beton), epoch=5, start_step=start), whole[start:])


def test_a_ragged_last_batch_smaller_than_the_ranks_is_left_out_of_training(beton: Beton) -> None:
    ranks = [read(training(beton, np.arange(97), rank=rank, world_size=2)) for rank in range(2)]
    assert [[len(batch.images) for batch in rank] for rank in ranks] == [[8] * 6, [8] * 6]


def test_a_last_batch_of_one_row_keeps_its_shape(beton: Beton) -> None:
    last = read(training(beton, np.arange(33)))[-1]
    assert last.images.shape == (1, 1, 32, 32) and last.targets.shape == (1, 3) and last.indices.shape == (1,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"indices": np.array([], dtype=np.int64)}, "not empty"),
        ({"indices": np.array([0, N])}, rf"small\.beton: no sample {N}"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2"),
        ({"batch_size": 1, "world_size": 2}, "batch_size = 1"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"num_workers": 0}, "num_workers = 0"),
        ({"indices": np.arange(2), "world_size": 3}, "2 images cannot be shared by 3"),
    ],
)
def test_settings_that_cannot_work_are_refused(beton: Beton, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        training(beton, **settings)


@pytest.mark.parametrize("start_step", [-1, 8])
def test_a_start_outside_the_epoch_is_refused(beton: Beton, start_step: int) -> None:
    with pytest.raises(InputError, match=r"steps 0\.\.6"):
        training(beton).epoch(0, start_step)
