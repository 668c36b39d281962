"""Batches of a beton of JPEGs: decoded on the CPU or a device, alike from every tier, and never of damaged data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rotated_pages import augmented_pages, warp_page
from small_beton import small_targets, write_small_beton

from datasets.augment.policy import Augment, draw
from datasets.beton.reader import Beton
from datasets.beton.verify import verify
from datasets.errors import InputError
from datasets.loading.device_jpeg import decode_on_device, decoding_problem
from datasets.loading.options import LoaderOptions
from datasets.loading.prefetch import DevicePrefetcher
from datasets.loading.stream import BetonLoader
from datasets.loading.tiers import open_tier

N, SIDE = 45, 32
AUGMENT = Augment(15.0, 0.5)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    return write_small_beton(tmp_path_factory.mktemp("jpeg"), N, SIDE, encoding="jpeg")


def pages_of(beton: Beton) -> np.ndarray:
    return beton.gather(np.arange(beton.num_samples))


DEFAULTS = {"batch_size": 8, "shuffle": True, "seed": 3, "augment": AUGMENT, "output": "uint8", "num_workers": 2}


def read(beton: Beton, tier: str, *, device: str = "cpu", **settings: object) -> list:
    options = LoaderOptions(**(DEFAULTS | settings))
    with open_tier(beton, np.arange(N), options, tier=tier, device=device).epoch(1) as batches:
        return list(batches)


def test_batches_are_the_decoded_pages_flipped_and_rotated(beton: Beton) -> None:
    pages = pages_of(beton)
    for batch in read(beton, "jpeg"):
        angles, flips, *_ = draw(3, 1, batch.indices.numpy(), AUGMENT)
        for image, index, angle, flip in zip(batch.images, batch.indices, angles, flips, strict=True):
            expected = np.empty((SIDE, SIDE), dtype=np.uint8)
            warp_page(pages[index].reshape(-1), expected, angle, flip)
            assert np.array_equal(image[0].numpy(), expected)
        assert np.array_equal(batch.targets.numpy(), small_targets(N)[batch.indices])


@pytest.mark.parametrize("options", [{}, {"augment": None, "shuffle": False}, {"augment_on": "device"}])
def test_streamed_and_resident_are_equal_to_the_bit_for_any_number_of_threads(beton: Beton, options: dict) -> None:
    streamed = read(beton, "jpeg", **options)
    for others in (read(beton, "resident", **options), read(beton, "jpeg", num_workers=1, **options)):
        for a, b in zip(streamed, others, strict=True):
            assert torch.equal(a.images, b.images) and torch.equal(a.indices, b.indices)
            assert torch.equal(a.targets, b.targets)


def test_tier_raw_is_refused_and_auto_streams_what_does_not_fit(
    beton: Beton, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(InputError, match="tier raw: the beton holds jpeg pages"):
        read(beton, "raw")
    monkeypatch.setattr("datasets.loading.tiers.HOST_SHARE", 0.0)
    assert len(read(beton, "auto")) == 6
    assert "on tier jpeg" in caplog.text


def test_a_damaged_jpeg_ends_the_epoch_with_its_number(tmp_path: Path) -> None:
    beton = write_small_beton(tmp_path, N, SIDE, encoding="jpeg")
    place = beton.metadata["image"][17]
    with beton.path.open("r+b") as handle:
        handle.seek(int(place["ptr"]) + int(place["size"]) // 2)
        handle.write(b"\xff\xd9" * 8)
    for tier in ("jpeg", "resident"):
        with pytest.raises(InputError, match=r"small\.beton: image 17 \(.*\) is not as it was written"):
            read(beton, tier)
        with pytest.raises(InputError, match=r"small\.beton: image 17 is damaged"):  # the decoder's own word
            read(beton, tier, check_pages=False)
    with pytest.raises(InputError, match="image 17 "):
        beton.page(17)
    assert any("image 17" in problem for problem in verify(beton))


def test_jpegs_may_be_decoded_where_the_network_is(beton: Beton) -> None:
    """The way of a GPU with nvJPEG, here with the CPU as the device."""
    options = LoaderOptions(**DEFAULTS, augment_on="device")
    loader = BetonLoader(beton, np.arange(N), options, decode_on=CPU)
    pages, seen = torch.from_numpy(pages_of(beton))[:, None], 0
    with DevicePrefetcher(loader, CPU).epoch(1) as prefetched:
        batches = list(prefetched)
    for batch in batches:
        indices = batch.host.indices
        assert torch.equal(batch.host.images, pages[indices])
        rotated = augmented_pages(pages[indices], indices, seed=3, epoch=1, augment=AUGMENT)
        torch.testing.assert_close(batch.inputs[:, 0] * (255 * 0.229), rotated[:, 0] - 255 * 0.485, rtol=0, atol=1e-3)
        seen += len(indices)
    assert seen == N


def test_the_device_s_decoder_refuses_what_is_damaged(beton: Beton) -> None:
    assert not decoding_problem(CPU)
    content = np.frombuffer(beton.path.read_bytes(), dtype=np.uint8)
    jpegs = [
        torch.from_numpy(content[begin : begin + size].copy()) for begin, size in beton.metadata["image"].tolist()
    ]
    assert decode_on_device(jpegs[:3], SIDE, CPU).shape == (3, 1, SIDE, SIDE)
    with pytest.raises(InputError, match="is damaged"):
        decode_on_device([jpegs[0], jpegs[1][:200]], SIDE, CPU)
    with pytest.raises(InputError, match=r"not \(1, 64, 64\)"):
        decode_on_device(jpegs[:2], 64, CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_nvjpeg_differs_by_little(beton: Beton) -> None:
    found = {}
    for batch in read(beton, "jpeg", augment=AUGMENT, augment_on="device", device="cuda"):
        assert batch.images.is_cuda
        found |= {int(i): image.cpu().numpy()[0] for i, image in zip(batch.indices, batch.images, strict=True)}
    difference = np.abs(np.stack([found[i] for i in range(N)]).astype(int) - pages_of(beton))
    assert difference.max() <= 3 and (difference <= 1).mean() > 0.99


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_nvjpeg_under_load_writes_over_nothing(beton: Beton) -> None:
    """Batch after batch on a side stream, its memory used again at once, while the main stream is kept busy."""
    device, pages = torch.device("cuda"), torch.from_numpy(pages_of(beton))
    content = np.frombuffer(beton.path.read_bytes(), dtype=np.uint8)
    jpegs = [
        torch.from_numpy(content[begin : begin + size].copy()) for begin, size in beton.metadata["image"].tolist()
    ]
    square, side = torch.randn(4096, 4096, device=device), torch.cuda.Stream()
    sums = []
    for _ in range(50):
        square = torch.nn.functional.normalize(square @ square)
        with torch.cuda.stream(side):
            batch = decode_on_device(jpegs, SIDE, device)
            filled = torch.full_like(batch, 255)  # would lie in the blocks of the single pictures
            sums.append((batch.int() - pages.to(device, non_blocking=True).view_as(batch).int()).abs().amax())
            del batch, filled
    assert max(int(largest) for largest in sums) <= 3
