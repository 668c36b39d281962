"""Betons of JPEGs as files: what holds for raw pages when they are written, resumed, checked, holds for them."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_beton import small_pages, small_targets, write_small_beton
from small_dataset import read_dataset, three_files, write_dataset

from datasets.beton.format import Layout
from datasets.beton.reader import Beton
from datasets.beton.verify import verify
from datasets.beton.writer import BetonWriter, work_path
from datasets.convert.convert import convert
from datasets.convert.protocol import Outcome, Page, Reject
from datasets.convert.request import ConvertOptions
from datasets.errors import InputError
from datasets.images.jpeg import decode_jpeg

N, SIDE = 45, 32


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Beton:
    return write_small_beton(tmp_path_factory.mktemp("jpeg"), N, SIDE, encoding="jpeg")


def pages_of(beton: Beton) -> np.ndarray:
    return beton.gather(np.arange(beton.num_samples))


def test_the_sidecar_says_how_pages_are_stored(beton: Beton) -> None:
    stored = {key: beton.sidecar.settings[key] for key in ("encoding", "quality")}
    assert stored == {"encoding": "jpeg", "quality": 95}
    assert beton.encoding == "jpeg" and beton.sidecar.file.bytes == beton.path.stat().st_size
    assert verify(beton) == []


def test_pages_are_those_of_the_images_but_for_the_jpeg_s_loss(beton: Beton) -> None:
    pages = pages_of(beton)
    assert np.abs(pages.astype(int) - small_pages(N, SIDE)).mean() < 2.5
    assert np.array_equal(beton.page(7), pages[7])
    assert np.array_equal(beton.targets, small_targets(N))
    assert beton.gather(np.empty(0, dtype=int)).shape == (0, SIDE, SIDE)


def test_ffcv_s_own_reader_finds_each_jpeg(beton: Beton) -> None:
    from ffcv.reader import Reader

    from datasets.loading.ffcv.fields import LabelsField

    reader = Reader(str(beton.path), {"labels": LabelsField})
    content = beton.path.read_bytes()
    pointers, sizes = (reader.metadata["f0"][name].astype(int) for name in ("ptr", "size"))
    jpegs = [content[begin : begin + size] for begin, size in zip(pointers, sizes, strict=True)]
    assert np.array_equal(np.stack([decode_jpeg(jpeg) for jpeg in jpegs]), pages_of(beton))
    assert np.array_equal(reader.alloc_table["ptr"], pointers) and np.array_equal(reader.alloc_table["size"], sizes)
    assert np.array_equal(reader.metadata["f1"], beton.targets)


def test_the_same_bytes_for_any_number_of_workers_and_another_for_another_quality(tmp_path: Path) -> None:
    dataset = read_dataset(write_dataset(tmp_path / "nih", 20))
    outs = [tmp_path / folder / "nih.beton" for folder in ("one", "two", "worse")]
    for out, workers, quality in zip(outs, (1, 2, 2), (95, 95, 60), strict=True):
        convert(*dataset, out, ConvertOptions(size=SIDE, workers=workers, encoding="jpeg", quality=quality))
    one, two, worse = map(three_files, outs)
    assert one == two
    assert Beton.open(outs[2]).sidecar.content_hash != Beton.open(outs[0]).sidecar.content_hash
    assert len(worse[0]) == len(one[0])  # one block holds either
    with pytest.raises(InputError, match="made from other tables or settings"):
        convert(*dataset, outs[0], ConvertOptions(size=SIDE, workers=1))


@pytest.mark.parametrize(("option", "message"), [({"quality": 0}, "quality = 0"), ({"encoding": "png"}, "raw, jpeg")])
def test_settings_that_mean_nothing_are_refused(tmp_path: Path, option: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(*read_dataset(write_dataset(tmp_path / "nih", 4)), tmp_path / "x.beton", ConvertOptions(**option))


def fake_jpegs(lengths: list[int]) -> list[Outcome]:
    items: list[Outcome] = []
    for number, length in enumerate(lengths):
        if length == 0:
            items.append(Reject(f"bad {number}"))
            continue
        data = np.random.default_rng(number).integers(1, 256, length, dtype=np.uint8).tobytes()
        items.append(Page(data, zlib.crc32(data), hashlib.sha256(data).digest()))
    return items


def open_writer(path: Path, capacity: int) -> BetonWriter:
    layout = Layout.for_capacity(capacity, image_size=SIDE, num_labels=3, encoding="jpeg")
    return BetonWriter(path, layout, key="k", stamp=str)


def write(path: Path, items: list[Outcome]) -> bytes:
    with open_writer(path, len(items)) as writer:
        for item in items[writer.next :]:
            writer.add(item)
        writer.flush()
        writer.finish(np.ones((len(writer.accepted), 3), dtype=np.uint8))
        writer.check_pages()
        layout, accepted = writer.final_layout, list(writer.accepted)
    content = work_path(path).read_bytes()
    assert len(content) == layout.file_bytes(len(accepted))
    for offset, position in zip(layout.offsets(len(accepted)).tolist(), accepted, strict=True):
        stored = items[position].stored
        assert content[offset : offset + len(stored)] == stored
        block = layout.block_bytes
        assert offset // block == (offset + len(stored) - 1) // block
    return content


LENGTHS = [0, 700_000, 700_000, 690_000, 8_000, 2_000_000, 90_000, 8_000, 1 << 21, 1, 0, 5]


def test_a_block_takes_as_many_as_fit_whole(tmp_path: Path) -> None:
    write(tmp_path / "a.beton", fake_jpegs(LENGTHS))
    lengths = np.array([length for length in LENGTHS if length])
    layout = Layout.for_capacity(12, image_size=SIDE, num_labels=3, encoding="jpeg").with_lengths(lengths)
    blocks = (layout.offsets(len(lengths)).astype(int) - layout.data_start) // layout.block_bytes
    assert np.bincount(blocks).tolist() == [3, 2, 2, 1, 2]
    assert layout.num_blocks(len(lengths)) == 5


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 1 << 21), min_size=1, max_size=30))
def test_blocks_are_filled_in_order_and_never_too_full(lengths: list[int]) -> None:
    layout = Layout.for_capacity(30, image_size=SIDE, num_labels=3, encoding="jpeg").with_lengths(np.array(lengths))
    offsets, first = layout.offsets(len(lengths)).astype(int), 0
    for block, count in enumerate(np.bincount((offsets - layout.data_start) // layout.block_bytes).tolist()):
        inside = lengths[first : first + count]
        starts = layout.block_start(block) + np.cumsum([0, *inside[:-1]])
        assert offsets[first : first + count].tolist() == starts.tolist()
        assert sum(inside) <= layout.block_bytes
        first += count
        assert first == len(lengths) or sum(inside) + lengths[first] > layout.block_bytes
    assert first == len(lengths)


@pytest.mark.parametrize("stop", range(1, 12))
def test_stopped_anywhere_it_goes_on_to_the_same_bytes(tmp_path: Path, stop: int) -> None:
    items = fake_jpegs(LENGTHS)
    whole = write(tmp_path / "whole.beton", items)
    path = tmp_path / "stopped.beton"
    with open_writer(path, len(items)) as writer:
        for item in items[:stop]:
            writer.add(item)
    assert write(path, items) == whole


def test_a_block_that_was_spoilt_meanwhile_is_written_again(tmp_path: Path) -> None:
    items = fake_jpegs(LENGTHS)
    whole = write(tmp_path / "whole.beton", items)
    path = tmp_path / "spoilt.beton"
    with open_writer(path, len(items)) as writer:
        for item in items[:9]:
            writer.add(item)
        second = writer.layout.block_start(1)
    with work_path(path).open("r+b") as handle:
        handle.seek(second + 5)
        handle.write(b"\x00")
    with open_writer(path, len(items)) as writer:
        assert 0 < writer.next < 6
    assert write(path, items) == whole


def copied(beton: Beton, folder: Path) -> Path:
    for name in ("small.beton", "small.beton.json", "small.samples.parquet"):
        (folder / name).write_bytes((beton.path.parent / name).read_bytes())
    return folder / "small.beton"


def refused_or_found(path: Path) -> bool:
    try:
        return verify(Beton.open(path)) != []
    except InputError:
        return True


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_byte_is_found_and_a_cut_file_refused(beton: Beton, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = copied(beton, tmp_path)
    assert not refused_or_found(path)
    content = bytearray(path.read_bytes())
    used = int(beton.final_layout.offsets(N)[-1])
    place = int(rng.integers(0, len(content)) if seed % 2 else rng.integers(beton.layout.data_start, used))
    content[place] ^= 1 << seed % 8
    path.write_bytes(content)
    assert refused_or_found(path)
    path.write_bytes(beton.path.read_bytes()[: int(rng.integers(0, len(content)))])
    with pytest.raises(InputError):
        Beton.open(path)
