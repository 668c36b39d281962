"""Every peer of conversion does the same work as ours: its pages are ours within two gray levels on 99 %."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.common.pictures import Pictures
from benchmarks.conversion.contenders import CONVERTERS, PEERS, Contender
from benchmarks.peers.conversion import DECODERS, batches, write_pages
from datasets.images.decode import decode_gray
from datasets.images.resize import fit
from datasets.phantom.write import write_phantom

SIZE = 128


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Phantoms as PNG, upright and across, and the same enlarged as gray JPEG."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom(folder, ["chestxray14"], patients=5, seed=0, size=512, workers=1)
    made: dict[str, list[str]] = {"png": [], "jpeg": []}
    for number, source in enumerate(sorted(folder.rglob("*.png"))[:3]):
        gray = decode_gray(source)[: 512 - 100 * number]
        cv2.imwrite(str(folder / f"page{number}.png"), gray)
        large = cv2.resize(gray, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"page{number}.jpg"), large, [cv2.IMWRITE_JPEG_QUALITY, 95])
        made["png"].append(str(folder / f"page{number}.png"))
        made["jpeg"].append(str(folder / f"page{number}.jpg"))
    return made


@pytest.mark.parametrize(("by", "form"), [(by, form) for form, peers in PEERS.items() for by in peers])
def test_a_peers_pages_are_ours(by: str, form: str, files: dict[str, list[str]], tmp_path: Path) -> None:
    contender = next(one for one in CONVERTERS if one.name == f"{by}_{form}_one")
    if contender.package and importlib.util.find_spec(contender.package) is None:
        pytest.skip(f"{contender.package} is not installed")
    paths = files["png" if form == "png" else "jpeg"]
    write_pages(paths, tmp_path / "pages", by=by, form=form, size=SIZE, processes=1)
    theirs = np.fromfile(tmp_path / "pages", dtype=np.uint8).reshape(len(paths), SIZE, SIZE).astype(int)
    least = 2 * SIZE if form == "reduced" else None
    ours = np.stack([fit(decode_gray(Path(path), least), SIZE) for path in paths])
    assert ours.std() > 20 and (np.abs(theirs - ours) <= 2).mean() >= 0.99


def test_a_pool_writes_the_pages_of_one_process_in_their_order(files: dict[str, list[str]], tmp_path: Path) -> None:
    paths = files["png"] * 5
    for processes in (1, 2):
        write_pages(paths, tmp_path / str(processes), by="kornia", form="png", size=SIZE, processes=processes)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_colours_are_left_to_pillow_by_kornia(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "c.png"), colours)
    path = str(tmp_path / "c.png")
    assert np.array_equal(DECODERS["kornia"](path, "png", 0), DECODERS["pillow"](path, "png", 0))


def test_a_pass_of_ours_has_the_cores_and_the_form_that_are_asked_for(
    files: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr("subprocess.run", lambda command, check: called.append(command))
    pictures = Pictures(
        folder=str(tmp_path),
        png=tuple(files["png"]),
        jpeg=(),
        beton="",
        jpeg_beton="",
        size=32,
        batch_size=1,
        workers=2,
    )
    for contender in (one for one in CONVERTERS if one.name in ("ours_png_one", "ours_png_all")):
        passes = batches(pictures, **contender.options)
        assert [next(passes), next(passes)] == [2, 3]
    assert [command[-1] for command in called] == ["1", "1", "2", "2"]
    assert all(command[3:5] == ["ours", "png"] for command in called)


def test_a_peer_that_is_absent_is_named() -> None:
    pictures = Pictures(
        folder="", png=("a.png",), jpeg=("a.jpg",), beton="", jpeg_beton="", size=32, batch_size=4, workers=2
    )
    codec: Contender = next(one for one in CONVERTERS if one.name == "torchcodec_png_one")
    absent = replace(codec, package="no_such_package")
    assert absent.missing(pictures, gpu=False) == "not installed; benchmarks/setup does it"
