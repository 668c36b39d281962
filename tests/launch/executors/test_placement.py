"""GPUs and cores of a machine are shared out: evenly, each core once, near the GPU where Linux tells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.executors.placement import Placement, cores_near, neighbours_together, share_out


def test_runs_take_gpus_in_turn_and_the_cores_near_them() -> None:
    """Two GPUs on two NUMA nodes, whose cores are numbered in turn."""
    near = {"0": {1, 3, 5, 7}, "1": {0, 2, 4, 6}}
    assert share_out(4, ["0", "1"], range(8), near) == [
        Placement(gpu="0", cores=(1, 3)),
        Placement(gpu="1", cores=(0, 2)),
        Placement(gpu="0", cores=(5, 7)),
        Placement(gpu="1", cores=(4, 6)),
    ]
    assert [place.environment for place in share_out(1, ["7"], [0], {})] == [{"CUDA_VISIBLE_DEVICES": "7"}]


def test_on_the_cpu_there_is_nothing_to_see_and_too_few_cores_are_not_bound() -> None:
    assert share_out(3, [], [4, 5], {}) == [Placement()] * 3
    assert Placement().bound(["train"]) == ["train"] and Placement().environment == {}


@given(
    num_runs=st.integers(1, 9),
    num_gpus=st.integers(0, 4),
    cores=st.lists(st.integers(0, 40), unique=True, max_size=40),
    near=st.dictionaries(st.sampled_from("0123"), st.frozensets(st.integers(0, 40))),
)
def test_every_run_gets_as_many_cores_and_no_core_is_given_twice(
    num_runs: int, num_gpus: int, cores: list[int], near: dict[str, frozenset[int]]
) -> None:
    places = share_out(num_runs, [str(gpu) for gpu in range(num_gpus)], cores, near)
    given_out = [core for place in places for core in place.cores]
    assert {len(place.cores) for place in places} == {len(cores) // num_runs}
    assert len(given_out) == len(set(given_out)) and set(given_out) <= set(cores)
    first = places[0]
    close = near.get(first.gpu or "", frozenset()) & set(cores)
    assert len(close & set(first.cores)) == min(len(close), len(first.cores))


def test_a_command_is_bound_to_its_cores() -> None:
    import os

    core = min(os.sched_getaffinity(0))
    command = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
    done = subprocess.run(Placement(cores=(core,)).bound(command), capture_output=True, text=True, check=True)
    assert done.stdout == f"{{{core}}}\n"


def test_what_linux_says_of_cores_and_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-smi's name of a place on the bus is that of /sys but for its length and case."""
    for core, siblings in ((0, "0,4"), (1, "1,5"), (4, "0,4"), (5, "1,5")):
        folder = tmp_path / f"devices/system/cpu/cpu{core}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    device = tmp_path / "bus/pci/devices/0000:3b:00.0"
    device.mkdir(parents=True)
    (device / "local_cpulist").write_text("0-2,7\n")
    assert neighbours_together({5, 0, 4, 1, 9}, tmp_path) == [0, 4, 1, 5, 9]
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nvidia-smi").write_text('#!/bin/sh\n[ "$4" = 7 ] && echo 00000000:3B:00.0\n')
    (programs / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    assert cores_near("7", tmp_path) == {0, 1, 2, 7}
    assert cores_near("8", tmp_path) == frozenset()
