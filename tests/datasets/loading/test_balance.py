"""Balanced draws: exact shares, distinct numbers, the same images on every tier and over any number of processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_beton import small_targets, write_small_beton

from datasets.augment.policy import Augment
from datasets.errors import InputError
from datasets.loading.balance import SAMPLE_MASK, balance_groups, balanced_draws, samples_of
from datasets.loading.options import SINGLE_PROCESS, LoaderOptions, ShardOptions
from datasets.loading.tiers import Tier, open_tier

GROUPS = st.lists(st.integers(1, 12), min_size=2, max_size=4)


@settings(deadline=None, max_examples=60)
@given(GROUPS, st.integers(1, 60), st.integers(0, 2**40), st.integers(0, 50))
def test_groups_have_equal_parts_and_their_images_come_equally_often(
    sizes: list[int], count: int, seed: int, epoch: int
) -> None:
    ends = np.cumsum([0, *sizes])
    groups = tuple(np.arange(first, last) for first, last in pairwise(ends))
    draws = balanced_draws(groups, count, seed, epoch)
    assert len(np.unique(draws)) == count == len(draws)
    times = np.bincount(samples_of(draws).astype(int), minlength=ends[-1])
    parts = [int(times[members].sum()) for members in groups]
    assert max(parts) - min(parts) <= 1
    assert all(times[members].max() - times[members].min() <= 1 for members in groups)
    shuffled = tuple(np.random.default_rng(seed).permutation(members) for members in groups)
    assert set(balanced_draws(shuffled, count, seed, epoch)) == set(draws), "a group is a set"


def test_overlapping_groups_draw_an_image_more_often_but_never_twice_under_one_number() -> None:
    draws = balanced_draws((np.array([0, 1]), np.array([1, 2])), 8, 0, 0)
    assert len(set(draws)) == 8
    assert np.bincount(samples_of(draws).astype(int)).tolist() == [2, 4, 2]


def test_epochs_and_seeds_choose_other_images_of_a_large_group() -> None:
    groups = (np.arange(2), np.arange(2, 1000))
    chosen = [set(samples_of(balanced_draws(groups, 100, seed, epoch))) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert len(chosen[0] & chosen[1]) < 20 and len(chosen[0] & chosen[2]) < 20


@dataclass
class Table:
    """What of a beton is read here."""

    targets: np.ndarray
    samples: pd.DataFrame
    labels: tuple[str, ...] = ("Edema", "Mass")
    path: Path = Path("x.beton")


TARGETS = np.array([[1, 0], [0, 255], [0, 0], [1, 1], [0, 0]], dtype=np.uint8)
SAMPLES = pd.DataFrame(
    {"path": list("abcde"), "sex": ["F", "M", None, "F", "M"], "age": range(5), "uncertain:Mass": True}
)
BETON: Any = Table(TARGETS, SAMPLES)


def groups(by: str, *chosen: int) -> dict[str, list[int]]:
    found = balance_groups(BETON, np.array(chosen or range(5)), by)
    return {name: members.tolist() for name, members in found.items()}


def test_groups_by_label_labels_and_attribute() -> None:
    assert groups("Mass") == {"Mass": [3], "not Mass": [0, 1, 2, 4]}
    assert groups("labels") == {"Edema": [0, 3], "Mass": [3], "none of them": [1, 2, 4]}
    assert groups("sex") == {"F": [0, 3], "M": [1, 4]}, "an image without a value is not drawn"
    assert groups("labels", 0, 1) == {"Edema": [0], "none of them": [1]}
    assert groups("age", 1, 4) == {"1": [1], "4": [4]}


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("Edma", r"data.balance = 'Edma' is no label and no attribute; known: labels, Edema, Mass, sex, age$"),
        ("path", "'path' is no label and no attribute"),
        ("uncertain:Mass", "is no label and no attribute"),
    ],
)
def test_other_names_are_refused_in_one_line(by: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        groups(by)


def test_one_group_and_too_many_are_refused() -> None:
    with pytest.raises(InputError, match="'Edema': the training images are all in one group"):
        groups("Edema", 0, 3)
    many: Any = Table(np.zeros((30, 2), np.uint8), pd.DataFrame({"age": range(30)}))
    with pytest.raises(InputError, match="'age' has 30 values, more than 20"):
        balance_groups(many, np.arange(30), "age")


def epoch_of(folder: Path, tier: Tier, encoding: Any = "raw", *, shard: ShardOptions = SINGLE_PROCESS) -> list[Any]:
    path = folder / encoding
    if not path.exists():
        path.mkdir(parents=True)
        write_small_beton(path, 11, encoding=encoding)
    from datasets.beton.reader import Beton

    beton = Beton.open(path / "small.beton")
    options = LoaderOptions(batch_size=4, shuffle=True, seed=5, augment=Augment(), output="uint8", num_workers=1)
    options = replace(options, groups=(np.array([1, 2]), np.array([0, *range(3, 11)])))
    with open_tier(beton, np.arange(11), options, tier=tier, shard=shard).epoch(3) as batches:
        return list(batches)


def test_every_tier_yields_the_same_draws_targets_and_pixels(tmp_path: Path) -> None:
    resident, raw = (epoch_of(tmp_path, tier) for tier in ("resident", "raw"))  # type: ignore[arg-type]
    for ours, theirs in zip(resident, raw, strict=True):
        assert torch.equal(ours.indices, theirs.indices)
        assert torch.equal(ours.targets, theirs.targets)
        assert torch.equal(ours.images, theirs.images)
    draws = torch.cat([batch.indices for batch in raw])
    assert len(draws.unique()) == 11
    assert sorted((draws & SAMPLE_MASK).tolist()).count(1) in (2, 3)
    targets = torch.cat([batch.targets for batch in raw]).numpy()
    assert np.array_equal(targets, small_targets(11)[samples_of(draws.numpy())])
    images = torch.cat([batch.images for batch in raw])
    first, second = (int(place) for place in torch.nonzero(draws & SAMPLE_MASK == 1)[:2, 0])
    assert not torch.equal(images[first], images[second]), "each draw is augmented anew"


def test_two_ranks_share_the_draws_of_one(tmp_path: Path) -> None:
    alone = epoch_of(tmp_path, "raw")
    shared = [epoch_of(tmp_path, "raw", shard=ShardOptions(rank, 2)) for rank in (0, 1)]
    for whole, *parts in zip(alone, *shared, strict=True):
        assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
        assert torch.equal(whole.indices, torch.cat([part.indices for part in parts]))


def test_jpegs_are_drawn_alike(tmp_path: Path) -> None:
    raw, jpeg = epoch_of(tmp_path, "raw"), epoch_of(tmp_path, "jpeg", "jpeg")
    assert [batch.indices.tolist() for batch in raw] == [batch.indices.tolist() for batch in jpeg]
