"""MPS is started and stopped, and a fault on a shared GPU is told; the program that starts it is a stand-in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from grid_stand_in import executor, plan, read_trace, small_runs
from mps_stand_in import stand_in

from datasets.errors import InputError
from datasets.logging_setup import set_up_logging
from launch.doctor.machine import check_mps
from launch.executors.local.executor import slots_by_mps
from launch.executors.mps import is_fault, mps_daemon, uuids
from launch.executors.placement import make_slots

RUNS = small_runs()


def calls(file: Path) -> list[list[str]]:
    return [line.split("|") for line in file.read_text().splitlines()]


def test_a_daemon_serves_the_gpus_from_a_private_folder_and_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = stand_in(tmp_path, monkeypatch)
    with pytest.raises(ZeroDivisionError), slots_by_mps(make_slots("cuda", None, 2)) as slots:
        pipe = Path(slots[0]["CUDA_MPS_PIPE_DIRECTORY"])
        assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["GPU-aa", "GPU-bb"] * 2
        assert pipe.stat().st_mode & 0o777 == 0o700 and len(f"{pipe}/control") < 108
        assert (pipe / "control").exists() and Path(slots[0]["CUDA_MPS_LOG_DIRECTORY"]).is_dir()
        raise ZeroDivisionError
    assert calls(file) == [[said, str(pipe), "GPU-aa,GPU-bb"] for said in ("-d", "get_server_list", "quit")]
    assert not pipe.exists()


def test_a_daemon_of_the_site_is_used_and_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = stand_in(tmp_path, monkeypatch)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    with mps_daemon(["GPU-aa"]) as found:
        assert found == {}
    assert not file.exists()


def test_what_keeps_it_from_starting_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch)
    (tmp_path / "refuses").touch()
    with pytest.raises(InputError, match=r"does not start \(no device\); see cxr doctor"), mps_daemon(["GPU-aa"]):
        pass
    with pytest.raises(InputError, match="--mps: no runs share a GPU here"), slots_by_mps(make_slots("cuda", None)):
        pass
    with pytest.raises(InputError, match="GPU MIG-1 is none of nvidia-smi's 2 whole GPUs"):
        uuids(["1", "GPU-cc", "MIG-1"])
    assert uuids(["1", "GPU-cc"]) == ["GPU-bb", "GPU-cc"]
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="nvidia-cuda-mps-control is not on the PATH"), mps_daemon(["GPU-aa"]):
        pass


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("AcceleratorError: CUDA error: an illegal memory access was encountered", True),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", True),
        ("MemoryError: out of GPU memory at a batch of 16 per process", False),
        ("FloatingPointError: training diverged", False),
    ],
)
def test_faults_are_told_from_other_failures(reason: str, fault: bool) -> None:
    assert is_fault(reason) is fault


def test_runs_that_a_fault_ended_go_on_alone_and_its_cause_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """pretrain fails by itself whenever it runs; teacher only for it, beside it."""
    set_up_logging()
    runner = executor(tmp_path, {"pretrain": "fault:0.3", "teacher": "fault-once:0.3"}, slots=2)
    runner.mps = True
    runner.slots = runner._free = [{"CUDA_VISIBLE_DEVICES": "GPU-aa"} for _ in range(2)]
    runner.room.admits = lambda *_: True  # type: ignore[method-assign]
    outcomes = {outcome.run.name: outcome for outcome in runner.run(plan(tmp_path))}
    assert {name: outcome.state for name, outcome in outcomes.items()} == {
        "pretrain": "failed",
        "teacher": "done",
        "a": "blocked",
        "b": "done",
        "c": "blocked",
        "d": "blocked",
    }
    assert outcomes["pretrain"].reason == "AcceleratorError: CUDA error: unspecified launch failure"
    names = {run.run_id: name for name, run in RUNS.items()}
    events = [(event["event"], names[str(event["id"])]) for event in read_trace(tmp_path)]
    assert sorted(events[:2]) == [("start", "pretrain"), ("start", "teacher")]
    again = events[2:]  # each alone, in whatever order
    assert again.index(("end", "teacher")) == again.index(("start", "teacher")) + 1
    assert again.count(("start", "pretrain")) == 1
    assert capsys.readouterr().err.count("goes on from its checkpoint, alone on a GPU") == 2


def test_without_mps_a_fault_is_the_run_s_own(tmp_path: Path) -> None:
    runner = executor(tmp_path, {"pretrain": "fault:0.2"}, slots=2)
    assert {o.run.name: o.state for o in runner.run(plan(tmp_path))}["pretrain"] == "failed"
    assert sum(event["id"] == RUNS["pretrain"].run_id for event in read_trace(tmp_path)) == 1


@pytest.mark.parametrize(
    ("control", "modes", "pipe", "level", "words"),
    [
        (True, "Default", None, "ok", "can use --mps"),
        (False, "Default", None, "ok", "take turns"),
        (True, "Exclusive_Process", None, "warn", "takes one run at a time"),
        (True, "Prohibited", None, "fail", "no run can use that GPU"),
        (True, "Default", "torn", "fail", "where no daemon answers"),
        (True, "Exclusive_Process", "alive", "ok", "a daemon answers at"),
    ],
)
def test_the_doctor_says_how_runs_can_share_a_gpu(
    control: bool,
    modes: str,
    pipe: str | None,
    level: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(tmp_path, monkeypatch, control=control)
    (tmp_path / "modes").write_text(f"{modes}\n")
    if pipe is not None:
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
        if pipe == "alive":
            os.mkfifo(tmp_path / "control")
    first = next(iter(check_mps()))
    assert first.level == level and words in first.what


def test_the_doctor_says_nothing_of_it_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert list(check_mps()) == []


def test_a_status_that_names_a_fault_is_cleared_before_the_run_goes_on(tmp_path: Path) -> None:
    runner = executor(tmp_path, {"teacher": "fault-once:0.1"}, slots=2)
    runner.mps = True
    runner.slots = runner._free = [{"CUDA_VISIBLE_DEVICES": "GPU-aa"} for _ in range(2)]
    runner.room.admits = lambda *_: True  # type: ignore[method-assign]
    assert {o.run.name: o.state for o in runner.run(plan(tmp_path))} == dict.fromkeys(RUNS, "done")
    status = json.loads((tmp_path / RUNS["teacher"].run_id / "status.json").read_text())
    assert (status["state"], status["error"]) == ("done", None)
