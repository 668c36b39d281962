"""The benchmark of the first batch: real processes, and what the page of results says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_beton import write_small_beton

from benchmarks.loaders.first_batch import STARTS, measure
from benchmarks.page.sections import first_batch_section


@pytest.mark.slow
def test_starts_are_measured_and_shown(tmp_path: Path) -> None:
    beton = write_small_beton(tmp_path, 40)
    measured = measure(beton.path, rounds=1)
    rows = {row["start"]: row["seconds"] for row in measured["rows"]}
    assert list(rows) == [*STARTS, "script, numba's cache empty"]
    cold = rows.pop("script, numba's cache empty")
    assert 0.2 < min(rows.values()) <= max(rows.values()) < cold < 120
    assert f"| script, numba's cache empty | {cold:.2f} | 0.00 | 1 |" in first_batch_section(measured)
