"""Each of a beton's three files, cut anywhere or with any byte changed: refused at load, or found by verify."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_dataset import read_dataset, write_dataset

from datasets.beton.format import METADATA_START, metadata_dtype
from datasets.beton.reader import Beton
from datasets.beton.sidecar import samples_path, sidecar_path, write_sidecar
from datasets.beton.verify import verify
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.errors import InputError

FILES: dict[str, Callable[[Path], Path]] = {"beton": Path, "sidecar": sidecar_path, "samples": samples_path}


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_dataset(tmp_path_factory.mktemp("nih"), 60)
    out = tmp_path_factory.mktemp("beton") / "nih.beton"
    convert(*read_dataset(root), out, ConvertOptions(size=160, workers=2, encoding=request.param))
    return out


@pytest.fixture
def beton(original: Path, tmp_path: Path) -> Path:
    target = tmp_path / "nih.beton"
    for path_of in FILES.values():
        shutil.copyfile(path_of(original), path_of(target))
    return target


def complaint(beton: Path) -> str:
    """The first line said about a beton by opening, reading and verifying it; '' if it is sound."""
    try:
        opened = Beton.open(beton)
        _ = opened.samples, opened.targets
        return next(iter(verify(opened)), "")
    except InputError as error:
        return str(error)


def test_the_untouched_copy_is_sound(beton: Path) -> None:
    assert complaint(beton) == ""


@pytest.mark.parametrize("file", FILES)
def test_cut_at_ten_random_lengths(original: Path, beton: Path, file: str) -> None:
    rng, path = np.random.default_rng(5), FILES[file](beton)
    whole = FILES[file](original).read_bytes()
    for length in (0, len(whole) - 2, *rng.integers(1, len(whole), 10)):
        path.write_bytes(whole[:length])
        told = complaint(beton)
        assert told and "\n" not in told, f"{file} cut to {length} bytes"


@pytest.mark.parametrize("file", FILES)
def test_a_byte_changed_at_ten_random_places(original: Path, beton: Path, file: str) -> None:
    rng, path = np.random.default_rng(6), FILES[file](beton)
    whole = FILES[file](original).read_bytes()
    for place in (0, len(whole) - 1, *rng.integers(1, len(whole), 10)):
        changed = bytearray(whole)
        changed[place] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        told = complaint(beton)
        assert told and "\n" not in told, f"{file}, byte {place}"
    path.write_bytes(whole)
    assert complaint(beton) == ""


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", bytes(100_000), b"{}", b"PAR1" + bytes(64) + b"PAR1"])
def test_a_foreign_file_in_its_place_is_refused(beton: Path, file: str, content: bytes) -> None:
    FILES[file](beton).write_bytes(content)
    told = complaint(beton)
    assert told and "\n" not in told


@pytest.mark.parametrize("index", [1, 58])
@pytest.mark.parametrize("step", [1 << 40, 64], ids=["outside", "inside"])
def test_a_place_that_the_layout_does_not_have_is_refused_whatever_the_checksums_say(
    beton: Path, index: int, step: int
) -> None:
    opened = Beton.open(beton)
    dtype = metadata_dtype(len(opened.labels), opened.encoding)
    content = bytearray(beton.read_bytes())
    head_bytes = METADATA_START + opened.num_samples * dtype.itemsize
    rows = np.frombuffer(content, dtype=dtype, count=opened.num_samples, offset=METADATA_START).copy()
    (rows["image"] if opened.encoding == "raw" else rows["image"]["size"])[index] += np.uint64(step)
    content[METADATA_START:head_bytes] = rows.tobytes()
    beton.write_bytes(content)
    facts = replace(opened.sidecar.file, head_crc32=zlib.crc32(content[:head_bytes]))
    write_sidecar(beton, replace(opened.sidecar, file=facts))
    with pytest.raises(InputError, match="an image's offset or length contradicts the file's layout"):
        _ = Beton.open(beton).targets
