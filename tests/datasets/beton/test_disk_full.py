"""A disk that takes no more: one clear error, nothing under the final name, and the work so far is gone on with."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from decoded_here import DecodedHere
from small_dataset import read_dataset, three_files, write_dataset

from datasets.beton.sidecar import sidecar_path
from datasets.beton.writer import journal_path
from datasets.convert import convert as convert_module
from datasets.convert.convert import convert
from datasets.convert.request import ConvertOptions
from datasets.errors import InputError

SIZE, NUM_IMAGES = 704, 14
"""Four pages fill a block of 2 MiB."""
DISK_BYTES = 24 << 20


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("nih"), NUM_IMAGES, side=64)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system can be mounted by root alone")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place: Path, free_bytes: int) -> Path:
    """Take up all of a disk but so many bytes."""
    filler = place / "filler"
    with filler.open("wb") as handle:
        os.posix_fallocate(handle.fileno(), 0, os.statvfs(place).f_bavail * 4096 - free_bytes)
    return filler


def test_with_any_room_left_it_stops_with_one_line_and_goes_on_when_there_is_more(
    root: Path, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert_module, "DecodePool", DecodedHere)
    request = read_dataset(root)
    convert(*request, tmp_path / "whole.beton", ConvertOptions(size=SIZE))
    expected = three_files(tmp_path / "whole.beton")
    beton, _, samples = (-(-len(data) // 4096) * 4096 for data in expected)
    wanted = beton + samples
    out, kept = small_disk / "nih.beton", []
    for room in (0, 4096, 1 << 20, 3 << 20, 5 << 20, beton - (2 << 20), beton, wanted, wanted + 4096):
        filler = fill(small_disk, room)
        with pytest.raises(InputError) as told:
            convert(*request, out, ConvertOptions(size=SIZE))
        assert "the disk is full" in str(told.value)
        assert "make room and run the same command again" in str(told.value)
        assert not sidecar_path(out).exists()
        blocks = journal_path(out).read_bytes().count(b"\n") - 1 if journal_path(out).exists() else 0
        kept.append(max(0, blocks))
        filler.unlink()
        convert(*request, out, ConvertOptions(size=SIZE))
        assert three_files(out) == expected
        assert len(list(small_disk.iterdir())) == 3
        for path in small_disk.iterdir():
            path.unlink()
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (0, 4)


@pytest.mark.parametrize("limit_bytes", [0, 1000, 3 << 20, 7 << 20])
def test_a_limit_on_the_length_of_files_is_told_in_one_line_too(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_bytes: int
) -> None:
    monkeypatch.setattr(convert_module, "DecodePool", DecodedHere)
    request, out = read_dataset(root), tmp_path / "nih.beton"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        with pytest.raises(InputError, match=r"the largest file size allowed here is reached.*same command again"):
            convert(*request, out, ConvertOptions(size=SIZE))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert convert(*request, out, ConvertOptions(size=SIZE)).num_samples == NUM_IMAGES


def test_a_want_of_room_is_told_before_the_work(
    root: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(convert_module, "DecodePool", DecodedHere)
    fill(small_disk, 1 << 20)
    with pytest.raises(InputError):
        convert(*read_dataset(root), small_disk / "nih.beton", ConvertOptions(size=SIZE))
    assert "bytes are to be written, but 1,048,576 are free" in caplog.text
