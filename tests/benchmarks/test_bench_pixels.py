"""Every loader of the benchmark does the work that its row says: it runs, and makes the pixels that ours makes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from rotated_pages import warp_page

from benchmarks.common.contenders import (
    AUGMENTED,
    BENCH_PYTHON,
    DEVICE,
    FAST_DCT,
    FFMPEG_EDGE,
    FLOAT32,
    LOADER_RATIOS,
    LOADERS,
    OTHER_PIXELS,
    ROOT,
    Contender,
    Ratio,
    environment,
)
from benchmarks.common.pictures import MEAN, STD, Pictures
from benchmarks.common.prepare import prepare
from datasets.beton.reader import Beton
from datasets.phantom.write import write_phantom

SIZE = 256
ANGLE = 12.0
CLOSE, CLOSE_BUT_THE_EDGE = 0.99, 0.985
"""Share of pixels within two gray levels; and where the edge of the image, a pixel wide, is not blended."""
ROUNDING = 1e-3
"""Of floats, in gray levels."""
HERE = [contender for contender in LOADERS if contender.output != DEVICE]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """One made-up radiograph again and again, so that every image is the same, always flipped and turned."""
    folder = tmp_path_factory.mktemp("peers")
    write_phantom(folder / "phantom", ["chestxray14"], patients=5, seed=0, size=SIZE, workers=1)
    radiograph = cv2.imread(str(sorted((folder / "phantom").rglob("*.png"))[0]), cv2.IMREAD_GRAYSCALE)
    (folder / "one").mkdir()
    cv2.imwrite(str(folder / "one" / "0.png"), radiograph)
    (folder / "forms").mkdir()
    made = prepare(folder / "one", folder / "forms", samples=160, size=SIZE, batch_size=8, workers=2)
    made = replace(made, angles=(ANGLE, ANGLE + 0.001), flips=1.0)
    made.write(folder / "forms" / "pictures.json")
    return made


def process_of(contender: Contender) -> str:
    """Contenders of one name share a process: all that can, for the writers of FFCV, LitData and Grain fork."""
    if contender.peer in ("ffcv_stock", "lit_chunks", "grain_records"):
        return contender.name
    return "own" if contender.own_python else "bench"


@pytest.fixture(scope="module")
def delivered(pictures: Pictures) -> Iterator[Any]:
    """By a contender's name, an image of a batch, and images/s of a short measurement or why there is none."""
    found: dict[str, dict[str, tuple[np.ndarray | None, Any]]] = {}

    def of(contender: Contender) -> tuple[np.ndarray | None, Any]:
        group = process_of(contender)
        if group not in found:
            names = [one.name for one in HERE if process_of(one) == group and one.installed]
            python = sys.executable if contender.own_python else str(BENCH_PYTHON)
            out = Path(pictures.folder) / f"{group}.npz"
            script = str(ROOT / "tests" / "support" / "peer_batches.py")
            command = [python, script, f"{pictures.folder}/pictures.json", str(out), *names]
            done = subprocess.run(
                command, env=environment(), capture_output=True, text=True, timeout=200, check=False
            )
            assert done.returncode == 0, done.stderr[-2000:]
            images, said = np.load(out), json.loads(done.stdout.splitlines()[-1])
            found[group] = {name: (images.get(name), said[name]) for name in names}
        return found[group][contender.name]

    return of


def gray_levels(image: np.ndarray) -> np.ndarray:
    """A delivered image as gray levels, (C, S, S)."""
    channels_first = np.moveaxis(image, -1, 0) if image.shape[-1] == 3 else image.reshape(-1, SIZE, SIZE)
    if image.dtype == np.uint8:
        return channels_first.astype(float)
    mean, std = (np.asarray(values)[:, None, None] for values in (MEAN, STD))
    return 255.0 * (channels_first * std + mean)


def source(contender: Contender, pictures: Pictures) -> np.ndarray:
    """The page (S, S) uint8 that is in what it reads."""
    if contender.needs == "jpeg":
        data = Path(pictures.jpeg[0]).read_bytes()
        return simplejpeg.decode_jpeg(data, "GRAY", fastdct=contender.other_pixels == FAST_DCT)[..., 0]
    return Beton.open(Path(pictures.jpeg_beton if contender.needs == "jpeg_beton" else pictures.beton)).page(0)


@pytest.mark.parametrize("contender", HERE, ids=lambda one: one.name)
def test_a_row_runs_and_makes_our_pixels(contender: Contender, pictures: Pictures, delivered: Any) -> None:
    """Within two gray levels on 99 of 100 pixels; libraries turn either way.

    A row that says ``other pixels`` makes those that it says: of the fast DCT, or all but the edge.
    """
    if not contender.installed:
        pytest.skip(contender.missing(pictures, gpu=False) or "")
    image, rate = delivered(contender)
    assert image is not None, rate
    assert rate > 0
    page = source(contender, pictures)
    turned = contender.output in (FLOAT32, AUGMENTED) and not contender.centred
    flipped = turned or "flipped" in contender.output or "augmented" in contender.output.split(", ")
    expected = np.zeros((2, SIZE, SIZE), dtype=np.uint8)
    for out, angle in zip(expected, (ANGLE, -ANGLE), strict=True):
        warp_page(page.reshape(-1), out, angle if turned else 0.0, flipped)
    close = [(np.abs(gray_levels(image) - one) <= 2.0 + ROUNDING).mean() for one in expected]
    assert max(close) >= (CLOSE_BUT_THE_EDGE if contender.other_pixels == FFMPEG_EDGE else CLOSE), close
    assert contender.bytes_per_image(pictures) > 0


def test_ratios_of_the_same_work_are_told_from_others() -> None:
    same = {name for name, ratio in LOADER_RATIOS.items() if ratio.same_work(LOADERS)}
    assert {"float32_over_opencv_raw_pages", "float32_over_spdl_raw_pages", "flips_over_ffcv"} <= same
    assert not same & {"float32_over_torch_jpeg", "jpeg_decode_over_ffcv_rgb", "uint8_pages_over_opencv"}
    assert OTHER_PIXELS.keys() == {"spdl", "ffcv_rgb", "turbo_transforms", "turbo_fused", "turbo_raw"}
    assert not any({LOADER_RATIOS[name].ours, *LOADER_RATIOS[name].others} & OTHER_PIXELS.keys() for name in same)
    assert not Ratio("jpeg_float32", ("spdl",), 1, 2).same_work(LOADERS)


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
