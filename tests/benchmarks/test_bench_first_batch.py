"""The benchmark of the first batch: real processes, and what the page of results says of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.loaders.first_batch import COLD, STARTS, BenchFirstBatch
from benchmarks.page.sections import first_batch_section


@pytest.mark.slow
def test_starts_are_measured_and_shown(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), np.arange(64 * 64, dtype=np.uint8).reshape(64, 64))
    measured = BenchFirstBatch(images=tmp_path, samples=40, size=32, rounds=1).measure()
    rows = {row["start"]: row["seconds"] for row in measured["rows"]}
    assert list(rows) == [*STARTS, COLD]
    cold = rows.pop(COLD)
    assert 0.2 < min(rows.values()) <= max(rows.values()) < cold < 120
    assert f"| {COLD} | {cold:.2f} | 0.00 | 1 |" in first_batch_section(measured)
