"""Network input from any tier: on the CPU a pass-through, on a GPU copied ahead on a side stream."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from rotated_pages import augmented_pages
from small_beton import small_targets, write_small_beton

from datasets.augment.network_input import to_network_input
from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.loading.batch import Loader
from datasets.loading.ffcv.producer import LoaderFailedError
from datasets.loading.options import LoaderOptions
from datasets.loading.prefetch import DeviceBatch, DevicePrefetcher, side_stream
from datasets.loading.tiers import open_tier

N = 40
AUGMENT = Augment(15.0, 0.5)
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    return write_small_beton(tmp_path_factory.mktemp("feed"), N)


def loader_of(beton: Beton, tier: str, augment_on: str, device: str = "cpu", output: str = "uint8") -> Loader:
    options = LoaderOptions(
        batch_size=8, shuffle=True, seed=5, augment=AUGMENT, augment_on=augment_on, output=output, num_workers=2
    )
    return open_tier(beton, np.arange(N), options, tier=tier, device=device)


def read(prefetcher: DevicePrefetcher, epoch: int = 1) -> list[DeviceBatch]:
    with prefetcher.epoch(epoch) as batches:
        return list(batches)


@pytest.mark.parametrize("tier", ["raw", "resident"])
def test_pages_augmented_by_the_loader_are_normalised(beton: Beton, tier: str) -> None:
    loader = loader_of(beton, tier, "cpu")
    found = read(DevicePrefetcher(loader, "cpu"))
    with loader.epoch(1) as expected:
        for batch, host in zip(found, expected, strict=True):
            assert torch.equal(batch.inputs, to_network_input(host.images))
            assert torch.equal(batch.targets, host.targets) and torch.equal(batch.host.indices, host.indices)
            assert batch.global_size == host.global_size
    assert len(DevicePrefetcher(loader, "cpu")) == len(found) == 5


@pytest.mark.parametrize("tier", ["raw", "resident"])
def test_pages_left_to_the_device_are_augmented_there(beton: Beton, tier: str) -> None:
    for batch in read(DevicePrefetcher(loader_of(beton, tier, "device"), "cpu")):
        rotated = augmented_pages(batch.host.images, batch.host.indices, seed=5, epoch=1, augment=AUGMENT)
        torch.testing.assert_close(batch.inputs, to_network_input(rotated), rtol=0, atol=1e-6)
        assert np.array_equal(batch.targets.numpy(), small_targets(N)[batch.host.indices])


def test_cpu_and_device_augmentation_agree(beton: Beton) -> None:
    on_cpu, on_device = (read(DevicePrefetcher(loader_of(beton, "raw", place), "cpu")) for place in ("cpu", "device"))
    one_level = 1.01 / (255 * 0.224)
    for a, b in zip(on_cpu, on_device, strict=True):
        difference = (a.inputs - b.inputs).abs()
        assert difference.max() < one_level and (difference < 1e-5).float().mean() > 0.95


@pytest.mark.parametrize("tier", ["raw", "resident"])
def test_network_input_of_the_cpu_s_kernel_is_that_of_its_pages_to_the_bit(beton: Beton, tier: str) -> None:
    """What ``cxr train`` runs on a CPU, where "auto" output is float32."""
    loader = loader_of(beton, tier, "cpu", output="auto")
    grays = read(DevicePrefetcher(loader_of(beton, "raw", "cpu"), "cpu"))
    for batch, gray in zip(read(DevicePrefetcher(loader, "cpu")), grays, strict=True):
        assert batch.host.images.dtype == torch.float32 and batch.inputs is batch.host.images
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch.inputs, gray.inputs) and torch.equal(batch.targets, gray.targets)


def test_half_precision(beton: Beton) -> None:
    for output in ("uint8", "auto"):
        loader = loader_of(beton, "resident", "device" if output == "uint8" else "cpu", output=output)
        half = read(DevicePrefetcher(loader, "cpu", dtype=torch.bfloat16))
        assert {batch.inputs.dtype for batch in half} == {torch.bfloat16}


@pytest.mark.parametrize("tier", ["raw", "resident"])
def test_batches_that_are_sent_ahead_arrive_once_and_in_order(beton: Beton, tier: str) -> None:
    """What is done for a GPU, without its streams."""
    prefetcher = DevicePrefetcher(loader_of(beton, tier, "device"), "cpu")
    expected = read(prefetcher)
    prefetcher.runs_ahead = True
    found = read(prefetcher)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.inputs, b.inputs) and torch.equal(a.host.indices, b.host.indices)


def test_what_is_sent_ahead_is_dropped_at_the_end(beton: Beton) -> None:
    prefetcher = DevicePrefetcher(loader_of(beton, "resident", "device"), "cpu")
    prefetcher.runs_ahead = True
    with prefetcher.epoch(0) as batches:
        next(batches)
    assert next(batches, None) is None


@pytest.mark.parametrize("tier", ["raw", "resident"])
def test_leaving_early_ends_the_epoch(beton: Beton, tier: str) -> None:
    prefetcher = DevicePrefetcher(loader_of(beton, tier, "device"), "cpu")
    read(prefetcher)
    threads = threading.active_count()
    with prefetcher.epoch(0) as batches:
        next(batches)
    assert threading.active_count() == threads
    assert next(batches, None) is None


def test_batches_of_all_epochs_and_validations_travel_on_one_stream(
    beton: Beton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream of its own for each would keep its blocks of memory from the others."""
    made: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: made.append(device) or object())
    side_stream.cache_clear()
    loader = loader_of(beton, "raw", "device")
    first, second = DevicePrefetcher(loader, "cuda"), DevicePrefetcher(loader, torch.device("cuda"))
    side_stream.cache_clear()
    assert first.stream is second.stream is not None and made == [torch.device("cuda")]


def test_a_failure_in_the_background_arrives(beton: Beton) -> None:
    loader = loader_of(beton, "raw", "device")
    loader._stream.reader.metadata = loader._stream.reader.metadata[: N // 2]
    with pytest.raises(LoaderFailedError), DevicePrefetcher(loader, "cpu").epoch(0) as batches:
        list(batches)


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize("tier", ["raw", "resident"])
@pytest.mark.parametrize("augment_on", ["cpu", "device"])
def test_the_gpu_sees_every_sample_s_own_pixels(beton: Beton, tier: str, augment_on: str) -> None:
    """Slow work on the main stream lets copies run far ahead; no batch may be written over by a later one."""
    expected = {}
    for batch in read(DevicePrefetcher(loader_of(beton, "raw", "cpu"), "cpu")):
        expected |= {int(i): x for i, x in zip(batch.host.indices, batch.inputs, strict=True)}
    load = torch.randn(2048, 2048, device="cuda")
    kept = []
    with DevicePrefetcher(loader_of(beton, tier, augment_on, "cuda"), "cuda").epoch(1) as batches:
        for batch in batches:
            for _ in range(20):
                load = torch.tanh(load @ load)
            kept.append((batch.inputs + 0 * load.mean(), batch.host.indices, batch.targets))
    seen = 0
    for inputs, indices, targets in kept:
        assert np.array_equal(targets.cpu().numpy(), small_targets(N)[indices])
        for index, image in zip(indices, inputs.cpu(), strict=True):
            torch.testing.assert_close(image, expected[int(index)], rtol=0, atol=1.01 / (255 * 0.224))
            seen += 1
    assert seen == N
