"""Slots: which GPUs are there, and how runs share them."""

from __future__ import annotations

import pytest

from datasets.errors import InputError
from datasets.loading.threads import usable_cores
from launch.executors.placement import make_slots, parse_gpu_list, visible_gpus


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0,1", ("0", "1")), ("", ()), ("-1", ()), ("GPU-a,2,-1,3", ("GPU-a", "2")), ("NoDevFiles", ())],
)
def test_cuda_visible_devices_are_read_as_cuda_reads_them(value: str, expected: tuple[str, ...]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == expected


def test_gpus_are_listed_by_uuid_and_cut_ones_by_their_parts() -> None:
    text = (
        "GPU 0: NVIDIA A100 (UUID: GPU-aa)\n"
        "  MIG 1g.5gb     Device  0: (UUID: MIG-a1)\n"
        "  MIG 1g.5gb     Device  1: (UUID: MIG-a2)\n"
        "GPU 1: NVIDIA A100 (UUID: GPU-bb)\n"
    )
    assert parse_gpu_list(text) == ("MIG-a1", "MIG-a2", "GPU-bb")
    assert parse_gpu_list("No devices were found\n") == ()


def test_slots_share_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [s["CUDA_VISIBLE_DEVICES"] for s in make_slots("auto", None)] == ["3", "5"]
    assert [s["CUDA_VISIBLE_DEVICES"] for s in make_slots("auto", 3)] == ["3", "5", "3"]
    assert list(make_slots("cpu", 3)) == [{}, {}, {}]
    assert [s["CUDA_VISIBLE_DEVICES"] for s in make_slots("auto", None, 2)] == ["3", "5", "3", "5"]


def test_the_cpu_takes_two_runs_at_most_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert len(make_slots("auto", None)) == min(2, usable_cores())
    assert len(make_slots("auto", 5)) == 5


def test_impossible_wishes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InputError, match="--device cuda: neither nvidia-smi nor"):
        make_slots("cuda", None)
    with pytest.raises(InputError, match="--slots 0: expected at least 1"):
        make_slots("auto", 0)
    with pytest.raises(InputError, match="--runs-per-gpu 0: expected at least 1"):
        make_slots("auto", None, 0)
    with pytest.raises(InputError, match="--runs-per-gpu: no GPU here"):
        make_slots("auto", None, 2)
    with pytest.raises(InputError, match="give one of them"):
        make_slots("auto", 2, 2)
