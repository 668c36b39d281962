"""Tiers behind one interface: the same samples, order and pixels from each, and a choice that can be explained."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from small_beton import small_pages, small_targets, write_small_beton

from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.loading import tiers
from datasets.loading.batch import Batch, Loader
from datasets.loading.options import LoaderOptions, ShardOptions
from datasets.loading.tiers import choose_tier, open_tier

N = 61
AUGMENT = Augment(15.0, 0.5)


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    return write_small_beton(tmp_path_factory.mktemp("tiers"), N)


def opened(beton: Beton, tier: str, **settings: object) -> Loader:
    defaults = {"batch_size": 8, "shuffle": True, "seed": 3, "augment": AUGMENT, "output": "uint8", "num_workers": 2}
    chosen = defaults | settings
    indices = chosen.pop("indices", np.arange(N))
    shard = ShardOptions(chosen.pop("rank", 0), chosen.pop("world_size", 1))
    return open_tier(beton, indices, LoaderOptions(**chosen), tier=tier, shard=shard)


def read(loader: Loader, epoch: int = 0, start_step: int = 0) -> list[Batch]:
    with loader.epoch(epoch, start_step) as batches:
        return list(batches)


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)
        assert torch.equal(a.indices, b.indices) and a.global_size == b.global_size


@pytest.mark.parametrize("augment", [None, AUGMENT])
@pytest.mark.parametrize(("augment_on", "output"), [("cpu", "uint8"), ("cpu", "float32"), ("device", "auto")])
@pytest.mark.parametrize("shuffle", [False, True])
def test_resident_batches_are_those_of_the_stream(
    beton: Beton, augment: Augment | None, augment_on: str, output: str, shuffle: bool
) -> None:
    chosen = np.random.default_rng(0).permutation(N)[:45]
    settings = {"augment": augment, "augment_on": augment_on, "output": output}
    settings |= {"shuffle": shuffle, "indices": chosen}
    raw, resident = opened(beton, "raw", **settings), opened(beton, "resident", **settings)
    assert (raw.tier, resident.tier) == ("raw", "resident")
    assert len(raw) == len(resident) == 6
    assert raw.device_augment == resident.device_augment
    for epoch, start_step in ((0, 0), (1, 0), (1, 3), (2, 6)):
        assert_equal(read(resident, epoch, start_step), read(raw, epoch, start_step))


@pytest.mark.parametrize("shuffle", [False, True])
def test_ranks_of_a_resident_tier_share_as_those_of_the_stream(beton: Beton, shuffle: bool) -> None:
    for rank in range(3):
        settings = {"rank": rank, "world_size": 3, "shuffle": shuffle, "indices": np.arange(N - 4)}
        raw, resident = (read(opened(beton, tier, **settings), 1) for tier in ("raw", "resident"))
        assert_equal(resident, raw)


def test_left_to_the_device_pages_come_as_stored(beton: Beton) -> None:
    for tier in ("raw", "resident"):
        loader = opened(beton, tier, augment_on="device")
        assert loader.device_augment == AUGMENT
        for batch in read(loader):
            assert np.array_equal(batch.images[:, 0].numpy(), small_pages(N, 32)[batch.indices])
            assert np.array_equal(batch.targets.numpy(), small_targets(N)[batch.indices])


def test_threads_and_batch_size_change_no_sample_s_pixels(beton: Beton) -> None:
    def by_sample(**settings: object) -> dict[int, torch.Tensor]:
        batches = read(opened(beton, "resident", **settings))
        return {int(i): image for batch in batches for i, image in zip(batch.indices, batch.images, strict=True)}

    whole = by_sample()
    for settings in ({"num_workers": 1}, {"batch_size": 7}, {"indices": np.arange(5, N, 3)}):
        assert all(torch.equal(image, whole[i]) for i, image in by_sample(**settings).items())


def test_a_resident_tier_needs_neither_thread_nor_file(tmp_path: Path) -> None:
    beton = write_small_beton(tmp_path, 20)
    loader = opened(beton, "resident", indices=np.arange(20))
    whole, threads = read(loader), threading.active_count()
    beton.path.unlink()
    with loader.epoch(0) as batches:
        first = next(batches)
        assert batches.ready() and threading.active_count() == threads
    assert torch.equal(first.images, whole[0].images)
    assert next(batches, None) is None and not batches.ready()


@pytest.mark.parametrize("augment", [None, AUGMENT])
def test_resident_batches_stay_as_they_were(beton: Beton, augment: Augment | None) -> None:
    loader, raw = (opened(beton, tier, augment=augment) for tier in ("resident", "raw"))
    kept = [batch for epoch in range(4) for batch in read(loader, epoch)]
    assert_equal(kept, [batch for epoch in range(4) for batch in read(raw, epoch)])


@pytest.mark.parametrize(
    ("tier", "encoding", "page_bytes", "room_bytes", "chosen"),
    [
        ("auto", "raw", 100, 100, "resident"),
        ("auto", "raw", 101, 100, "raw"),
        ("auto", "jpeg", 100, 100, "resident"),
        ("auto", "jpeg", 101, 100, "jpeg"),
        ("resident", "raw", 101, 100, "resident"),
        ("resident", "jpeg", 101, 100, "resident"),
        ("raw", "raw", 1, 100, "raw"),
        ("jpeg", "jpeg", 1, 100, "jpeg"),
    ],
)
def test_the_choice(tier: str, encoding: str, page_bytes: int, room_bytes: int, chosen: str) -> None:
    assert choose_tier(tier, encoding, page_bytes=page_bytes, room_bytes=room_bytes) == chosen


def test_auto_says_what_it_took_and_why(
    beton: Beton, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert opened(beton, "auto").tier == "resident"
    assert "small.beton: 61 images on tier resident: 0.1 MB of pages, room for" in caplog.text
    monkeypatch.setattr(tiers, "HOST_SHARE", 0.0)
    assert opened(beton, "auto").tier == "raw"
    assert "on tier raw" in caplog.text
    caplog.clear()
    opened(beton, "auto", rank=1, world_size=2)
    opened(beton, "raw")
    assert "tier" not in caplog.text


@pytest.mark.parametrize(
    ("tier", "settings", "message"),
    [
        ("jpeg", {}, "tier jpeg: the beton holds raw pages; use tier raw, resident or auto"),
        ("resident", {"indices": np.array([0, N])}, rf"small\.beton: no sample {N}"),
        ("resident", {"batch_size": 1, "world_size": 2}, "batch_size = 1"),
        ("resident", {"rank": 2, "world_size": 2}, "rank 2 of 2"),
        ("raw", {"output": "float32", "augment_on": "device"}, "cannot be left to the device"),
    ],
)
def test_what_cannot_work_is_refused(beton: Beton, tier: str, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened(beton, tier, **settings)


def test_a_start_outside_the_epoch_is_refused(beton: Beton) -> None:
    with pytest.raises(InputError, match=r"steps 0\.\.7"):
        opened(beton, "resident").epoch(0, 9)


def test_free_memory_is_bounded_by_the_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tiers.free_host_memory()
    assert 0 < whole < 1 << 46
    own = tmp_path / "job" / "step"
    own.mkdir(parents=True)
    monkeypatch.setattr(tiers, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(tiers, "_own_groups", lambda root, controller: [] if controller else [own, own.parent])
    assert tiers.free_host_memory() > 1000
    (own / "memory.max").write_text("max\n")
    (own / "memory.current").write_text("7\n")
    (own.parent / "memory.max").write_text("1000\n")
    (own.parent / "memory.current").write_text("100\n")
    assert tiers.free_host_memory() == 900
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert tiers.room_for_pages(torch.device("cpu")) == 225 // 3
