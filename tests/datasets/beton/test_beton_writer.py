from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.beton.format import DESCRIPTOR, HEADER, METADATA_START, Layout, descriptors, metadata_dtype
from datasets.beton.writer import BetonWriter, journal_path, work_path
from datasets.convert.protocol import Outcome, Page, Reject
from datasets.errors import InputError

SIZE, NUM_LABELS = 1024, 3
"""Two pages of 1024 x 1024 fill a block."""


def page(number: int, size: int = SIZE) -> Page:
    pixels = np.full(size * size, number + 1, dtype=np.uint8).tobytes()
    return Page(pixels, zlib.crc32(pixels), hashlib.sha256(pixels).digest())


def outcomes(num: int, rejected: tuple[int, ...] = ()) -> list[Outcome]:
    return [Reject(f"bad {number}") if number in rejected else page(number) for number in range(num)]


def targets(num: int) -> np.ndarray:
    return np.random.default_rng(1).choice([0, 1, 255], (num, NUM_LABELS)).astype(np.uint8)


def open_writer(path: Path, capacity: int, *, key: str = "k", stamp: str = "same") -> BetonWriter:
    layout = Layout.for_capacity(capacity, image_size=SIZE, num_labels=NUM_LABELS)
    return BetonWriter(path, layout, key=key, stamp=lambda position: f"{stamp} {position}")


def write(path: Path, items: list[Outcome], **options: str) -> bytes:
    with open_writer(path, len(items), **options) as writer:
        for item in items[writer.next :]:
            writer.add(item)
        writer.flush()
        writer.finish(targets(len(writer.accepted)))
        writer.check_pages()
    return work_path(path).read_bytes()


def test_descriptors_and_dtypes_are_ffcvs_own() -> None:
    from ffcv.fields import IntField, NDArrayField
    from ffcv.types import FieldDescType, HeaderType, get_metadata_type

    from datasets.loading.ffcv.fields import LabelsField

    assert (HEADER.itemsize, DESCRIPTOR.itemsize) == (HeaderType.itemsize, FieldDescType.itemsize) == (24, 1041)
    fields = [NDArrayField(np.dtype("uint8"), (1, 320, 320)), LabelsField(14), IntField()]
    for row, field in zip(descriptors(320, 14), fields, strict=True):
        np.testing.assert_array_equal(row["arguments"], field.to_binary()[0])
    expected = get_metadata_type(fields)
    ours = metadata_dtype(14)
    assert ours.itemsize == expected.itemsize == 32
    assert [ours.fields[name][1] for name in ours.names] == [expected.fields[name][1] for name in expected.names]


@given(size=st.integers(1, 90).map(lambda n: 32 * n), num=st.integers(1, 400), spare=st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_images_lie_in_order_whole_in_their_blocks_and_apart(size: int, num: int, spare: int) -> None:
    layout = Layout.for_capacity(num + spare, image_size=size, num_labels=14)
    first = layout.offsets(num).astype(np.int64)
    last = first + layout.image_bytes - 1
    assert (first // layout.block_bytes == last // layout.block_bytes).all()
    assert (first[1:] > last[:-1]).all()
    assert METADATA_START + (num + spare) * metadata_dtype(14).itemsize <= first[0] == layout.data_start
    assert last[-1] < layout.data_end(num) == layout.file_bytes(num) - 24 * num
    assert layout.block_bytes & (layout.block_bytes - 1) == 0


def test_rejects_take_no_place(tmp_path: Path) -> None:
    path = tmp_path / "x.beton"
    with open_writer(path, 6) as writer:
        for item in outcomes(6, rejected=(0, 3)):
            writer.add(item)
        writer.flush()
        assert list(writer.accepted) == [1, 2, 4, 5]
        assert writer.rejects == {0: "bad 0", 3: "bad 3"}
        writer.finish(targets(4))
        layout = writer.layout
    data = work_path(path).read_bytes()
    assert len(data) == layout.file_bytes(4)
    assert [data[offset] for offset in layout.offsets(4)] == [2, 3, 5, 6]


def test_a_page_of_another_size_is_refused(tmp_path: Path) -> None:
    with open_writer(tmp_path / "x.beton", 3) as writer, pytest.raises(ValueError, match="a page of 4096 bytes"):
        writer.add(page(0, size=64))


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_work_cut_anywhere_is_taken_up_and_gives_the_same_bytes(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    items = outcomes(7, rejected=tuple(data.draw(st.sets(st.integers(0, 6), max_size=3))))
    folder = tmp_path_factory.mktemp("cut")
    expected = write(folder / "whole.beton", items)
    path = folder / "cut.beton"
    with open_writer(path, len(items)) as writer:
        for item in items[: data.draw(st.integers(0, 7))]:
            writer.add(item)
    journal = journal_path(path).read_bytes()
    journal_path(path).write_bytes(journal[: data.draw(st.integers(0, len(journal)))])
    if data.draw(st.booleans()):
        with work_path(path).open("r+b") as handle:
            handle.truncate(data.draw(st.integers(0, work_path(path).stat().st_size)))
    assert write(path, items) == expected


def partly_written(path: Path, rejected: tuple[int, ...] = ()) -> None:
    with open_writer(path, 7) as writer:
        for item in outcomes(7, rejected)[:5]:
            writer.add(item)


def resumed_at(path: Path, **options: str) -> int:
    with open_writer(path, 7, **options) as writer:
        return writer.next


def test_whole_blocks_are_taken_up(tmp_path: Path) -> None:
    partly_written(tmp_path / "x.beton")
    assert resumed_at(tmp_path / "x.beton") == 4


def test_an_altered_page_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "x.beton"
    partly_written(path)
    with work_path(path).open("r+b") as handle:
        handle.seek(Layout.for_capacity(7, image_size=SIZE, num_labels=NUM_LABELS).block_start(1) + 17)
        handle.write(b"\xee")
    assert resumed_at(path) == 2


def test_other_settings_start_over(tmp_path: Path) -> None:
    partly_written(tmp_path / "x.beton")
    assert resumed_at(tmp_path / "x.beton", key="other") == 0


def test_a_mended_image_is_tried_again(tmp_path: Path) -> None:
    partly_written(tmp_path / "x.beton", rejected=(3,))
    assert resumed_at(tmp_path / "x.beton", stamp="mended") == 2


def test_only_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "x.beton"
    with open_writer(path, 3), pytest.raises(InputError, match="another conversion is writing"):
        open_writer(path, 3)


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "x.beton"
    work_path(path).symlink_to("/dev/full")
    with open_writer(path, 4) as writer:
        writer.add(page(0))
        with pytest.raises(InputError, match="the disk is full; the first 0 images are kept: make room"):
            writer.add(page(1))
