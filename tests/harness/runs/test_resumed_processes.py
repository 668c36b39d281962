"""Several processes: a resumed epoch has the bits of the whole one; a process that fails does not keep the others."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

import pytest

from launch.executors.ranks import run_ranks

SUPPORT = Path(__file__).resolve().parents[2] / "support"


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT.parent.parent), str(SUPPORT)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.slow
@pytest.mark.usefixtures("paths")
@pytest.mark.parametrize("num_processes", [2, 3])
def test_from_three_random_steps_the_bits_are_those_of_the_whole_epoch(
    tiny_beton: Path, tmp_path: Path, num_processes: int
) -> None:
    """Three numbers have more than one float32 sum: each gradient has to be added up in the same order again."""
    out = tmp_path / "out.json"
    steps = [str(step) for step in sorted(random.sample(range(1, 5), 3))]  # of 5
    command = [sys.executable, str(SUPPORT / "resumed_processes.py"), str(tiny_beton), str(out), *steps]
    assert run_ranks(command, num_processes) == 0
    found = json.loads(out.read_text())
    assert list(found["hashes"]) == ["whole", *steps]
    assert len(set(found["hashes"].values())) == 1
    assert list(found["library"]) == ["whole", "3"] and len(set(found["library"].values())) == 1
    assert found["seconds"] < 3.0
