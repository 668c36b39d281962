"""Peers do the same work as ours: the same flip, rotation and normalisation, up to their own rounding."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rotated_pages import warp_page

from benchmarks.common.contenders import LOADERS
from benchmarks.common.pictures import STD, Pictures
from benchmarks.peers.pixels import augmented, fill_channels_last, fill_float_batch, float_sample
from datasets.augment.network_input import to_network_input

SIZE = 64


@pytest.fixture(scope="module")
def jpeg() -> np.ndarray:
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    picture = (128 + 90 * np.sin(x / 7 + y / 13)).astype(np.uint8)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]


@pytest.mark.parametrize(("angle", "flip"), [(12.0, False), (-7.5, True), (0.0, True)])
def test_opencv_warps_as_ours_does(
    jpeg: np.ndarray, angle: float, flip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda *_: angle)
    monkeypatch.setattr(random, "random", lambda: 0.0 if flip else 0.9)
    theirs = augmented(jpeg, SIZE).astype(int)
    gray = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
    ours = np.zeros((SIZE, SIZE), dtype=np.uint8)
    warp_page(gray.reshape(-1), ours, angle, flip)
    inner = slice(12, -12)
    assert np.abs(theirs - ours)[inner, inner].max() <= 4
    assert np.abs(theirs - ours)[inner, inner].mean() < 1.0


def test_floats_are_the_networks_input(jpeg: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(random, "uniform", lambda *_: 5.0)
    monkeypatch.setattr(random, "random", lambda: 0.9)
    expected = to_network_input(torch.from_numpy(augmented(jpeg, SIZE))[None, None])[0]
    torch.testing.assert_close(float_sample(jpeg, SIZE), expected, rtol=0, atol=1e-6)
    path = tmp_path / "picture.jpg"
    path.write_bytes(jpeg.tobytes())
    batch = np.empty((2, 3, SIZE, SIZE), dtype=np.float32)
    fill_float_batch([str(path)] * 2, batch)
    torch.testing.assert_close(torch.from_numpy(batch[1]), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("angle", "flip"), [(12.0, False), (-7.5, True)])
def test_raw_pages_become_the_input_that_ours_makes(
    angle: float, flip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same work on a page of 256 x 256: within two gray levels on 99 of 100 pixels."""
    monkeypatch.setattr(random, "uniform", lambda *_: angle)
    monkeypatch.setattr(random, "random", lambda: 0.0 if flip else 0.9)
    y, x = np.mgrid[0:256, 0:256]
    gray = (128 + 90 * np.sin(x / 28 + y / 52)).astype(np.uint8)
    theirs = np.empty((1, 256, 256, 3), dtype=np.float32)
    fill_channels_last(gray[None], theirs)
    page = np.zeros((256, 256), dtype=np.uint8)
    warp_page(gray.reshape(-1), page, angle, flip)
    ours = to_network_input(torch.from_numpy(page)[None, None])[0].permute(1, 2, 0).numpy()
    gray_levels = np.abs(theirs[0] - ours) * np.asarray(STD) * 255
    assert (gray_levels <= 2.0).mean() >= 0.99


def test_what_is_not_installed_is_named(tmp_path: Path) -> None:
    pictures = Pictures(
        folder="", png=("a.png",), jpeg=("a.jpg",), beton="b", jpeg_beton="c", size=32, batch_size=4, workers=2
    )
    by_name = {contender.name: contender for contender in LOADERS}
    assert by_name["raw_device"].missing(pictures, gpu=False) == "needs a CUDA device"
    assert by_name["raw_float32"].missing(pictures, gpu=False) is None
    absent = replace(by_name["spdl"], package="no_such_package.part")
    assert absent.missing(pictures, gpu=False) == "not installed; benchmarks/setup does it"
    pictures.write(tmp_path / "pictures.json")
    assert Pictures.read(tmp_path / "pictures.json") == pictures
