"""Damaged headers, metadata and sidecars: one error of ours, never a signal, a hang, a traceback or much memory."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzzed_child import Feed, changed, damaged, fuzzed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from read_beton import read_beton
from small_beton import write_small_beton

from datasets.beton.format import METADATA_START, metadata_dtype
from datasets.beton.reader import Beton
from datasets.beton.sidecar import _checksum, samples_path, sidecar_path
from datasets.errors import InputError
from datasets.loading.ffcv.producer import LoaderFailedError

EXAMPLES = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
NUM_IMAGES = 5


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def beton(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Beton:
    return write_small_beton(tmp_path_factory.mktemp("heads"), NUM_IMAGES, encoding=request.param)


@pytest.fixture(scope="module")
def read() -> Iterator[Feed]:
    with fuzzed(read_beton, (InputError, LoaderFailedError)) as feed:
        yield feed


def copied(beton: Beton, folder: Path) -> Path:
    for path in (beton.path, sidecar_path(beton.path), samples_path(beton.path)):
        shutil.copyfile(path, folder / path.name)
    return folder / beton.path.name


def head_bytes(beton: Beton) -> int:
    return METADATA_START + NUM_IMAGES * metadata_dtype(len(beton.labels), beton.encoding).itemsize


def write_sums(path: Path, document: Any) -> None:
    """Write a sidecar whose check sum is right."""
    if isinstance(document, dict):
        document = {**document, "checksum": _checksum(document)}
    sidecar_path(path).write_text(json.dumps(document))


def test_the_sound_one_is_read(beton: Beton, read: Feed) -> None:
    read(str(beton.path))


@EXAMPLES
@given(data=st.data(), mend=st.booleans())
def test_damaged_heads(beton: Beton, read: Feed, tmp_path: Path, data: st.DataObject, mend: bool) -> None:
    """``mend`` makes the sidecar's sums those of the damaged file, as someone would who means harm."""
    path, content = copied(beton, tmp_path), beton.path.read_bytes()
    end = head_bytes(beton)
    head = data.draw(damaged([content[:end]]))
    whole = head + content[end:]
    path.write_bytes(whole)
    document = beton.sidecar.to_json()
    if mend:
        document["file"] |= {"bytes": len(whole), "head_crc32": zlib.crc32(whole[:end])}
    write_sums(path, document)
    read(str(path))


@EXAMPLES
@given(data=st.data())
def test_odd_sidecars(beton: Beton, read: Feed, tmp_path: Path, data: st.DataObject) -> None:
    path = copied(beton, tmp_path)
    write_sums(path, data.draw(changed([beton.sidecar.to_json()])))
    read(str(path))


@pytest.mark.parametrize("size", [-1, 0, 10**6])
def test_a_side_that_no_page_has_is_refused(beton: Beton, tmp_path: Path, size: int) -> None:
    path = copied(beton, tmp_path)
    write_sums(path, {**beton.sidecar.to_json(), "image_size": size})
    with pytest.raises(InputError, match=rf"image_size {size}: expected 1 to 65,535"):
        Beton.open(path)
