"""Betons read as one: what merging them under a new name writes, without the copy; what does not fit is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import LABELS, write_tiny_beton

from datasets.augment.policy import Augment
from datasets.beton.mixed import MixedBeton, open_beton
from datasets.beton.reader import Beton
from datasets.beton.sidecar import sidecar_path, write_sidecar
from datasets.beton.verify import verify
from datasets.convert.merge import merge
from datasets.errors import InputError
from datasets.loading.balance import balance_groups
from datasets.loading.options import LoaderOptions, ShardOptions
from datasets.loading.tiers import open_tier
from datasets.sources.registry import mixed_content
from datasets.splits.leaks import leaks_between_parts, leaks_between_splits

OTHER_LABELS = ("Nodule", "Gout")


def write_parts(folder: Path, encoding: str = "raw") -> MixedBeton:
    """30 images of ChestX-ray14 and 20 of a clinic, which share one label, as one, and merged as ``both.beton``."""
    first = write_tiny_beton(folder, num_samples=30, encoding=encoding)
    second = write_tiny_beton(
        folder, num_samples=20, labels=OTHER_LABELS, seed=1, dataset="a_clinic", encoding=encoding
    )
    merge([first, second], folder / "both.beton", name="both", subset_seed=0)
    mix = open_beton(folder / "chestxray14+a_clinic.beton")
    assert isinstance(mix, MixedBeton)
    return mix


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def mix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MixedBeton:
    return write_parts(tmp_path_factory.mktemp(request.param), request.param)


def test_it_says_what_the_merged_file_says(mix: MixedBeton) -> None:
    merged = Beton.open(mix.path.with_name("both.beton"))
    assert mix.labels == merged.labels == (*LABELS, "Gout")
    kept = [name for name in merged.samples if name != "subset_rank"]
    assert mix.samples[kept].astype(str).equals(merged.samples[kept].astype(str))
    assert list(mix.samples["dataset"]) == ["a_clinic"] * 20 + ["chestxray14"] * 30  # by path, whatever comes first
    assert np.array_equal(mix.targets, merged.targets)
    assert np.array_equal(mix.uncertain, merged.uncertain) and mix.uncertain.any()
    for split in ("train", "validation", "test"):
        assert np.array_equal(mix.indices(split), merged.indices(split))
    for key in ("num_samples", "num_patients", "labels", "positives", "ignored", "splits", "image_size"):
        assert getattr(mix.sidecar, key) == getattr(merged.sidecar, key), key
    assert np.array_equal(mix.gather(np.arange(50)), merged.gather(np.arange(50)))
    groups = [balance_groups(beton, beton.indices("train"), "dataset") for beton in (mix, merged)]
    assert {name: list(rows) for name, rows in groups[0].items()} == {n: list(rows) for n, rows in groups[1].items()}
    assert leaks_between_splits(mix) == []
    assert verify(mix) == []


@pytest.mark.parametrize("tier", ["stream", "resident"])
@pytest.mark.parametrize("output", ["uint8", "float32"])
def test_every_tier_and_both_ranks_yield_the_batches_of_the_merged_file(
    mix: MixedBeton, tier: str, output: str
) -> None:
    merged = Beton.open(mix.path.with_name("both.beton"))
    options = LoaderOptions(
        batch_size=8, shuffle=True, seed=3, augment=Augment(), augment_on="cpu", output=output, num_workers=1
    )
    chosen = mix.encoding if tier == "stream" else "resident"
    train = mix.indices("train")
    alone = open_tier(merged, train, options, tier=chosen)
    shares = [open_tier(mix, train, options, tier=chosen, shard=ShardOptions(rank, 2)) for rank in (0, 1)]
    assert alone.tier == shares[0].tier == chosen
    steps = list(zip(alone.epoch(1), *(share.epoch(1) for share in shares), strict=True))
    assert len(steps) == 4
    for whole, *parts in steps:
        for field in ("images", "targets", "indices"):
            assert torch.equal(getattr(whole, field), torch.cat([getattr(part, field) for part in parts]))


def test_a_subset_of_each_part_is_that_of_the_part_alone(mix: MixedBeton) -> None:
    chosen = mix.indices("train", "7+full")
    assert list(chosen) == sorted(chosen)
    paths = mix.samples["path"].iloc[chosen]
    for part, subset in zip(mix.parts, ("7", "full"), strict=True):
        name = part.sidecar.dataset
        own = f"{name}/" + part.samples["path"].iloc[part.indices("train", subset)]
        assert sorted(paths[paths.str.startswith(f"{name}/")]) == sorted(own)
    for subset, said in (
        ("7", r"subset 7 of split train; expected one of train as 1k\+full"),
        ("7+13", "a_clinic.beton: subset 13 of split train, which has 12 images"),
        ("x+full", "subset = 'x' is unknown"),
    ):
        with pytest.raises(InputError, match=said):
            mix.indices("train", subset)


def test_its_hash_is_of_its_parts_in_their_order(mix: MixedBeton) -> None:
    turned = open_beton(mix.path.with_name("a_clinic+chestxray14.beton"))
    hashes = {part.sidecar.dataset: part.sidecar.content_hash for part in mix.parts}
    assert mix.sidecar.content_hash == mixed_content(hashes) != turned.sidecar.content_hash
    assert turned.labels == ("Nodule", "Gout", "Effusion", "Mass")
    assert (mix.sidecar.dataset, mix.sidecar.settings["title"]) == ("chestxray14+a_clinic", "ChestX-ray14 + a_clinic")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    first = Beton.open(write_tiny_beton(tmp_path, num_samples=10))
    second = Beton.open(write_tiny_beton(tmp_path, num_samples=10, dataset="chestxray14_5.6k"))
    path = tmp_path / "chestxray14+chestxray14_5.6k.beton"
    with pytest.raises(InputError, match=r"10 images are in more than one of them, such as chestxray14/0000.png"):
        open_beton(path)
    settings = {**second.sidecar.settings, "resize": "squash"}
    write_sidecar(second.path, dataclasses.replace(second.sidecar, settings=settings))
    with pytest.raises(InputError, match=r"5.6k.beton: resize 'squash', but .*chestxray14.beton has 'shorter'"):
        open_beton(path)
    write_sidecar(second.path, dataclasses.replace(second.sidecar, dataset="other"))
    with pytest.raises(InputError, match=r"5.6k.beton: holds other$"):
        open_beton(path)
    sidecar_path(first.path).unlink()
    with pytest.raises(InputError, match=r"chestxray14.beton.json: no such file"):
        open_beton(path)


def test_an_image_under_two_names_in_train_and_test_is_found(tmp_path: Path) -> None:
    """The second part holds the pixels of the first; then one of its train images is in the test split."""
    write_tiny_beton(tmp_path, num_samples=10)
    write_tiny_beton(tmp_path, num_samples=10, dataset="clinic")
    mix = open_beton(tmp_path / "chestxray14+clinic.beton")
    assert isinstance(mix, MixedBeton)
    assert leaks_between_parts(mix) == []  # each in the same split
    splits = mix.joined.samples["split"].to_numpy()
    splits[mix.samples["name"] == "clinic/0005.png"] = "test"
    torn = dataclasses.replace(mix, joined=dataclasses.replace(mix.joined, samples=mix.samples.assign(split=splits)))
    (leak,) = leaks_between_parts(torn)
    assert str(leak) == (
        "1 images in both the training of chestxray14 and the validation or test of clinic: 0005.png"
    )
