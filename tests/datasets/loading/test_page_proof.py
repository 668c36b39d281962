"""Pages are compared with their checksums when they are first read, on every tier, and never twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from small_beton import write_small_beton

from datasets.augment.policy import Augment
from datasets.beton import pages
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.loading.options import LoaderOptions
from datasets.loading.tiers import open_tier

N = 30
TIERS = ("raw", "resident")


def read(beton: Beton, tier: str, **settings: object) -> None:
    options = LoaderOptions(**{"batch_size": 4, "shuffle": True, "num_workers": 2} | settings)
    loader = open_tier(beton, np.arange(N), options, tier=tier)
    for epoch in range(2):
        with loader.epoch(epoch) as batches:
            assert sum(len(batch.indices) for batch in batches) == N


def spoil(beton: Beton, sample: int, place: int) -> Beton:
    """Change one byte of a page."""
    with beton.path.open("r+b") as handle:
        handle.seek(int(beton.metadata["image"][sample]) + place)
        (byte,) = handle.read(1)
        handle.seek(-1, 1)
        handle.write(bytes([byte ^ 1]))
    return Beton.open(beton.path)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("settings", [{}, {"augment": Augment(15.0, 0.5)}, {"output": "float32"}])
@pytest.mark.parametrize("place", [0, 32 * 32 - 1])
def test_one_bit_of_a_page_ends_the_epoch(tmp_path: Path, tier: str, settings: dict, place: int) -> None:
    beton = spoil(write_small_beton(tmp_path, N), 17, place)
    with pytest.raises(InputError, match=r"small\.beton: image 17 \(00017\.png\) is not as it was written"):
        read(beton, tier, **settings)
    read(beton, tier, check_pages=False, **settings)


@pytest.mark.parametrize("tier", TIERS)
def test_each_page_is_checked_once_however_often_it_is_opened(
    tmp_path: Path, tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beton, checked = write_small_beton(tmp_path, N), Counter[bytes]()
    crc32 = pages.zlib_ng.crc32

    class Counting:
        @staticmethod
        def crc32(data: np.ndarray) -> int:
            checked[data.tobytes()] += 1
            return crc32(data)

    monkeypatch.setattr(pages, "zlib_ng", Counting)
    read(beton, tier)
    read(beton, tier)
    assert len(checked) == N and set(checked.values()) == {1}
