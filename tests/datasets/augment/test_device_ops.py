"""Pixels made by torch against those of the compiled CPU kernel: the same to the bit but on the border."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rotated_pages import augmented_pages
from small_beton import small_pages

from datasets.augment.network_input import to_network_input
from datasets.augment.policy import Augment, draw
from datasets.augment.warp_cpu import warp_batch
from datasets.augment.warp_device import augmented_input

REAL_IMAGES = sorted((Path(__file__).parents[4] / "shared" / "nih_sample" / "images").glob("*.png"))
SEED, EPOCH = 3, 4
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def by_kernel(pages: np.ndarray, samples: np.ndarray, augment: Augment) -> np.ndarray:
    """(B, S, S) uint8 as the loader's threads make it."""
    size = pages.shape[-1]
    flat = np.ascontiguousarray(pages).reshape(-1)
    flat.flags.writeable = False
    out = np.empty((len(pages), 1, size, size), dtype=np.uint8)
    places = np.arange(len(pages), dtype=np.uint64) * np.uint64(size * size)
    warp_batch(flat, places, draw(SEED, EPOCH, samples, augment), out)
    return out[:, 0]


def by_torch(pages: np.ndarray, samples: np.ndarray, augment: Augment, device: str = "cpu") -> np.ndarray:
    images, indices = torch.from_numpy(pages)[:, None].to(device), torch.from_numpy(samples).to(device)
    return augmented_pages(images, indices, seed=SEED, epoch=EPOCH, augment=augment)[:, 0].cpu().numpy()


def assert_same(found: np.ndarray, expected: np.ndarray, augment: Augment, samples: np.ndarray) -> None:
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    size = expected.shape[-1]
    for picture, angle in zip(difference, draw(SEED, EPOCH, samples, augment)[0], strict=True):
        assert not picture[inside(size, float(angle))].any()


def inside(size: int, angle_deg: float) -> np.ndarray:
    """Output pixels whose source lies at least a pixel inside the page; a flip changes nothing about it."""
    place = np.arange(size) - (size - 1) / 2
    angle = np.deg2rad(angle_deg)
    x = np.cos(angle) * place + np.sin(angle) * place[:, None]
    y = np.cos(angle) * place[:, None] - np.sin(angle) * place
    return np.maximum(np.abs(x), np.abs(y)) < size / 2 - 1.5


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 180), st.floats(0, 1), st.sampled_from([2, 7, 32, 65]), st.integers(0, 2**32 - 1))
def test_noise_comes_out_as_from_the_kernel(degrees: float, probability: float, size: int, seed: int) -> None:
    pages = np.random.default_rng(seed).integers(0, 256, (3, size, size), dtype=np.uint8)
    augment, samples = Augment(degrees, probability), np.array([seed, 0, 2**40 + seed])
    assert_same(by_torch(pages, samples, augment), by_kernel(pages, samples, augment), augment, samples)


@pytest.mark.skipif(not REAL_IMAGES, reason="no folder of real X-rays beside the checkout")
def test_real_images_agree_to_one_level_on_nearly_all_pixels() -> None:
    grays = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in REAL_IMAGES[::20]]
    pages = np.stack([cv2.resize(gray, (256, 256), interpolation=cv2.INTER_AREA) for gray in grays])
    samples, augment = np.arange(len(pages)), Augment(15.0, 0.5)
    found, expected = by_torch(pages, samples, augment), by_kernel(pages, samples, augment)
    assert_same(found, expected, augment, samples)
    assert (found == expected).mean() > 0.999


def test_no_rotation_is_an_exact_copy_and_a_flip_an_exact_mirror() -> None:
    pages, samples = small_pages(4, 64), np.arange(4)
    assert np.array_equal(by_torch(pages, samples, Augment(0.0, 0.0)), pages)
    assert np.array_equal(by_torch(pages, samples, Augment(0.0, 1.0)), pages[:, :, ::-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_network_input_is_the_normalised_page_on_three_channels(dtype: torch.dtype) -> None:
    images, indices = torch.from_numpy(small_pages(5, 32))[:, None], torch.arange(5)
    augment = Augment(15.0, 0.5)
    settings = {"seed": SEED, "epoch": EPOCH, "dtype": dtype}
    found = augmented_input(images, indices, augment=augment, **settings)
    assert found.dtype == dtype and found.shape == (5, 3, 32, 32)
    assert found.is_contiguous(memory_format=torch.channels_last) and not found.requires_grad
    rotated = augmented_pages(images, indices, seed=SEED, epoch=EPOCH, augment=augment)
    exact = torch.finfo(dtype).eps * 3
    torch.testing.assert_close(found.float(), to_network_input(rotated), rtol=exact, atol=exact)
    plain = augmented_input(images, indices, augment=None, **settings)
    assert torch.equal(plain, to_network_input(images).to(dtype))


def test_a_batch_of_any_make_up_gives_a_sample_the_same_pixels() -> None:
    pages, augment = small_pages(6, 32), Augment(15.0, 0.5)
    whole = by_torch(pages, np.arange(6), augment)
    assert np.array_equal(by_torch(pages[[4, 1]], np.array([4, 1]), augment), whole[[4, 1]])


def test_constants_made_in_inference_mode_serve_training_too() -> None:
    images, indices = torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.arange(2)
    with torch.inference_mode():
        augmented_input(images, indices, seed=77, epoch=0, augment=Augment())
    layer = torch.nn.Conv2d(3, 1, 1)
    layer(augmented_input(images, indices, seed=77, epoch=0, augment=Augment())).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.slow
def test_the_compiled_function_gives_the_same_and_compiles_once_for_all_batch_lengths() -> None:
    images, indices = torch.from_numpy(small_pages(7, 32))[:, None], torch.arange(7)
    settings = {"seed": SEED, "augment": Augment(15.0, 0.5)}
    counted = torch._dynamo.utils.counters["stats"]
    augmented_input(images[:2], indices[:2], epoch=0, compiled=True, **settings)
    graphs = counted["unique_graphs"]
    for length, epoch in ((7, 1), (3, 2), (2, 0)):
        eager = augmented_input(images[:length], indices[:length], epoch=epoch, compiled=False, **settings)
        compiled = augmented_input(images[:length], indices[:length], epoch=epoch, compiled=True, **settings)
        torch.testing.assert_close(compiled, eager, rtol=0, atol=1e-6)
        assert compiled.is_contiguous(memory_format=torch.channels_last)
    assert counted["unique_graphs"] == graphs


@pytest.mark.slow
def test_without_a_compiler_it_runs_all_the_same_and_says_so(tmp_path: Path) -> None:
    code = """
import torch
from datasets.augment.policy import Augment
from datasets.augment.warp_device import augmented_input
images, indices = torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.arange(3)
for _ in range(2):
    print(augmented_input(images, indices, seed=0, epoch=0, augment=Augment(), compiled=True).shape)
"""
    environment = os.environ | {"CXX": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["torch.Size([3, 3, 8, 8])"] * 2
    assert done.stderr.count("images are augmented without torch.compile") == 1


@pytest.mark.gpu
@cuda
def test_the_gpu_makes_the_same_pixels() -> None:
    pages, samples, augment = small_pages(32, 256), np.arange(32), Augment(15.0, 0.5)
    expected = by_kernel(pages, samples, augment)
    assert_same(by_torch(pages, samples, augment, "cuda"), expected, augment, samples)
    images, indices = torch.from_numpy(pages)[:, None].cuda(), torch.arange(32, device="cuda")
    found = augmented_input(images, indices, seed=SEED, epoch=EPOCH, augment=augment)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        found.cpu(), to_network_input(torch.from_numpy(expected)[:, None]), rtol=0, atol=1.1 / 255 / 0.224
    )
