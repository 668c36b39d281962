"""When a run may start on a GPU where another one trains: what that takes must be known, and as much be free."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from grid_stand_in import small_runs

from launch.executors.local import gpu_room
from launch.executors.local.gpu_room import CONTEXT_BYTES, MARGIN, GpuRoom, free_gpu_bytes, load

RUNS = small_runs()
FIRST, SECOND = RUNS["pretrain"], RUNS["teacher"]
GB = 1_000_000_000


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_room, "RETRY_S", 0.0)


def room(runs_dir: Path, said: list[str], free: int | None) -> GpuRoom:
    return GpuRoom(runs_dir=runs_dir, note=said.append, free_bytes=lambda gpu: free)


def write_epoch(
    runs_dir: Path, *, peak: int | None = 4 * GB, rate: float | None = 900.0, updated: float = 0.0
) -> None:
    """What the first run has told ``updated`` seconds ago."""
    folder = runs_dir / FIRST.run_id
    folder.mkdir(exist_ok=True)
    status = {"state": "running", "epoch": 1, "images_per_s": rate, "updated": time.time() - updated}
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "metrics.jsonl").write_text(json.dumps({"epoch": 0, "peak_cuda_bytes": peak}) + "\n")


def beside(seconds: float = 60.0) -> list[Any]:
    return [(FIRST, SimpleNamespace(seconds=seconds))]


def test_the_cpu_and_a_gpu_of_its_own_have_room(tmp_path: Path, said: list[str]) -> None:
    assert room(tmp_path, said, 0).admits(SECOND, None, beside())
    assert room(tmp_path, said, 0).admits(SECOND, "7", [])


@pytest.mark.parametrize("changes", [{"rate": None}, {"updated": 100.0}, {"peak": None}], ids=str)
def test_a_neighbour_without_an_epoch_since_its_start_is_waited_for(
    changes: dict[str, Any], tmp_path: Path, said: list[str]
) -> None:
    """Also one that goes on: what an earlier start recorded is not in memory yet."""
    write_epoch(tmp_path, **changes)
    found = room(tmp_path, said, 80 * GB)
    assert not found.admits(SECOND, "7", beside())
    assert not found.admits(SECOND, "7", beside())
    assert said == [
        "teacher waits to share GPU 7: pretrain has not trained an epoch yet, so what it takes is not known"
    ]


def test_as_much_must_be_free_as_a_run_takes(tmp_path: Path, said: list[str]) -> None:
    write_epoch(tmp_path)
    needed = int(MARGIN * 4 * GB + CONTEXT_BYTES)
    assert room(tmp_path, said, needed).admits(SECOND, "7", beside())
    assert not room(tmp_path, said, needed - 1).admits(SECOND, "7", beside())
    assert said == ["teacher waits to share GPU 7: 6.1 GB are free, it takes about 6.1 GB"]
    assert room(tmp_path, said, None).admits(SECOND, "7", beside())  # where nothing can be asked, the user is trusted


def test_a_larger_run_takes_more(tmp_path: Path, said: list[str]) -> None:
    write_epoch(tmp_path)
    data = dataclasses.replace(SECOND.config.data, image_size=128)
    large = dataclasses.replace(SECOND, config=dataclasses.replace(SECOND.config, data=data))
    assert load(large.config) == 4 * load(SECOND.config)
    needed = int(MARGIN * 4 * 4 * GB + CONTEXT_BYTES)
    assert room(tmp_path, said, needed).admits(large, "7", beside())
    assert not room(tmp_path, said, needed - 1).admits(large, "7", beside())


def test_a_gpu_is_not_asked_at_every_look(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_room, "RETRY_S", 60.0)
    write_epoch(tmp_path)
    asked: list[str] = []
    found = GpuRoom(runs_dir=tmp_path, note=said.append, free_bytes=lambda gpu: asked.append(gpu) or 0)
    for _ in range(5):
        assert not found.admits(SECOND, "7", beside())
    assert asked == ["7"]


@pytest.mark.parametrize(("answer", "expected"), [("81037\n", 81037 << 20), ("No devices were found\n", None)])
def test_nvidia_smi_tells_free_memory(answer: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> Any:
        assert command[0] == "nvidia-smi" and command[-2:] == ["-i", "GPU-aa"]
        return SimpleNamespace(stdout=answer, returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    assert free_gpu_bytes("GPU-aa") == expected
