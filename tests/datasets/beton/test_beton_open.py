from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_dataset import read_dataset, write_dataset

from datasets.beton.reader import Beton
from datasets.beton.sidecar import samples_path, sidecar_path
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.errors import InputError

NUM_IMAGES, SIZE = 100, 160
"""81 images of 160 x 160 fill a block, so there are two blocks with a gap behind each."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("nih"), NUM_IMAGES)


@pytest.fixture(scope="module")
def original(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("beton") / "nih.beton"
    convert(*read_dataset(root), out, ConvertOptions(size=SIZE, workers=2))
    return out


@pytest.fixture
def beton(original: Path, tmp_path: Path) -> Path:
    return copy_beton(original, tmp_path / "nih.beton")


def copy_beton(source: Path, target: Path) -> Path:
    for path_of in (Path, sidecar_path, samples_path):
        shutil.copyfile(path_of(source), path_of(target))
    return target


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as handle:
        handle.seek(offset)
        handle.write(data)


def test_reading_the_samples_starts_no_thread(original: Path) -> None:
    code = f"""
import os, pathlib
import pyarrow.parquet
from datasets.beton.reader import Beton
beton = Beton.open(pathlib.Path({str(original)!r}))
before = len(os.listdir("/proc/self/task"))
print(len(beton.indices("train", "10")), len(os.listdir("/proc/self/task")) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["10", "0"], "a thread of Arrow's may abort a process that ends; " + done.stderr


def test_gather_and_page_are_the_same_pixels(original: Path) -> None:
    beton = Beton.open(original)
    assert (beton.layout.num_blocks(NUM_IMAGES), beton.layout.per_block) == (2, 81)
    everything = beton.gather(np.arange(NUM_IMAGES))
    assert everything.shape == (NUM_IMAGES, SIZE, SIZE)
    for index in (0, 80, 81, 99):
        np.testing.assert_array_equal(beton.page(index), everything[index])
    assert not beton.page(0).flags.writeable
    assert np.shares_memory(beton.page(0), beton.page(0)) and not np.shares_memory(everything[0], beton.page(0))
    assert len({page.tobytes() for page in everything}) == NUM_IMAGES


@pytest.mark.parametrize("index", [-1, NUM_IMAGES])
def test_indices_beyond_the_samples_are_refused(original: Path, index: int) -> None:
    beton = Beton.open(original)
    with pytest.raises(IndexError):
        beton.page(index)
    with pytest.raises(IndexError):
        beton.gather(np.array([0, index]))


def test_subsets_are_nested_and_ascending(original: Path) -> None:
    beton = Beton.open(original)
    train = beton.indices("train")
    assert list(train) == list(np.flatnonzero(beton.samples["split"] == "train"))
    smaller: set[int] = set()
    for count in (1, 5, 20, len(train)):
        found = beton.indices("train", str(count))
        assert found.dtype == np.int64
        assert len(found) == count and list(found) == sorted(found)
        assert set(beton.samples["subset_rank"].iloc[found]) == set(range(count))
        assert smaller <= set(found)
        smaller = set(found)
    assert smaller == set(train)


@pytest.mark.parametrize(
    ("split", "subset", "message"),
    [
        ("train", "1k", "subset 1k of split train, which has 80 images"),
        ("validation", "5", "subset 5 of split validation"),
        ("train", "many", "'many' is unknown; use full or a count such as 1k"),
        ("dev", "full", r"no samples in split 'dev'; there are train \(80\), validation \(10\), test \(10\)"),
    ],
)
def test_unknown_splits_and_subsets_are_refused(original: Path, split: str, subset: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Beton.open(original).indices(split, subset)


def test_an_absent_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; make it with 'cxr convert'"):
        Beton.open(tmp_path / "none.beton")
    with pytest.raises(InputError, match="cannot be read"):
        Beton.open(tmp_path)


@pytest.mark.parametrize("seed", range(10))
def test_a_file_cut_anywhere_is_refused(beton: Path, seed: int) -> None:
    length = int(np.random.default_rng(seed).integers(0, beton.stat().st_size))
    with beton.open("r+b") as handle:
        handle.truncate(length)
    with pytest.raises(InputError, match="truncated"):
        Beton.open(beton)


def test_a_file_with_bytes_behind_its_end_is_refused(beton: Path) -> None:
    with beton.open("ab") as handle:
        handle.write(b"\0")
    with pytest.raises(InputError, match="truncated or altered"):
        Beton.open(beton)


def test_foreign_files_are_refused(beton: Path) -> None:
    overwrite(beton, 24, b"\x02")
    with pytest.raises(InputError, match="its fields are not those"):
        Beton.open(beton)
    overwrite(beton, 25, b"picture")
    with pytest.raises(InputError, match="not a beton of this program"):
        Beton.open(beton)
    beton.write_bytes(b"\x89PNG" * 2000)
    with pytest.raises(InputError, match="not a beton of this program"):
        Beton.open(beton)


def test_a_file_of_ffcvs_own_writer_that_was_not_finished_is_refused(beton: Path) -> None:
    overwrite(beton, 16, bytes(8))
    with pytest.raises(InputError, match="never finished"):
        Beton.open(beton)


def test_a_missing_companion_is_named(beton: Path) -> None:
    samples_path(beton).unlink()
    with pytest.raises(InputError, match=r"nih\.samples\.parquet: no such file"):
        Beton.open(beton)
    sidecar_path(beton).unlink()
    with pytest.raises(InputError, match=r"nih\.beton\.json: no such file"):
        Beton.open(beton)


def test_an_edited_sidecar_is_refused(beton: Path) -> None:
    path = sidecar_path(beton)
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "labels": values["labels"][::-1]}))
    with pytest.raises(InputError, match="altered after it was written"):
        Beton.open(beton)
    path.write_text(json.dumps({**values, "format_version": 99}))
    with pytest.raises(InputError, match="format version 99, but this program reads 1"):
        Beton.open(beton)
    path.write_text("[]")
    with pytest.raises(InputError, match="not the sidecar of a beton"):
        Beton.open(beton)
    path.write_text("{")
    with pytest.raises(InputError, match="not a JSON file"):
        Beton.open(beton)


def test_companions_of_another_beton_are_refused(root: Path, beton: Path, tmp_path: Path) -> None:
    records, splits, ranks = read_dataset(root)
    other = tmp_path / "other.beton"
    convert(records, np.roll(splits, 2), ranks, other, ConvertOptions(size=SIZE))
    shutil.copyfile(samples_path(other), samples_path(beton))
    with pytest.raises(InputError, match=r"does not belong to nih\.beton"):
        _ = Beton.open(beton).samples
    smaller = tmp_path / "small.beton"
    convert(records, splits, ranks, smaller, ConvertOptions(size=32))
    shutil.copyfile(sidecar_path(smaller), sidecar_path(beton))
    with pytest.raises(InputError, match="its fields are not those"):
        Beton.open(beton)


def test_altered_labels_are_found_when_they_are_read(beton: Path) -> None:
    overwrite(beton, 3147 + 8, b"\x01\x01\x01\x01")
    with pytest.raises(InputError, match="labels or offsets were altered"):
        _ = Beton.open(beton).targets
