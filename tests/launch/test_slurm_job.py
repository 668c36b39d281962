"""What a job does on its node, with stand-ins for trainings and for scontrol."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import grid_stand_in
import pytest
from grid_stand_in import read_trace, small_runs, wait_for_starts

from launch.prepare import prepare_folder
from launch.slurm import attempt
from launch.slurm.attempt import JobFailedError, carry_out
from launch.slurm.history import History, read_history
from launch.slurm.job import Job, JobRun

RUNS = small_runs()
STAND_IN = str(Path(grid_stand_in.__file__).resolve())
BAD_INPUT = ("-c", "import sys; print('error: no such beton'); sys.exit(2)")


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs, in the environment of task 3 of array 12, with a scontrol that writes down its orders."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    values = {"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_NTASKS": "1"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/scontrol.txt\n')
    (programs / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(attempt, "REQUEUE_WAIT_S", 0.0)
    return tmp_path / "runs"


def job(runs_dir: Path, behaviours: dict[str, str | tuple[str, ...]], **changes: Any) -> Job:
    values = {"num_ranks": 1, "time_min": 60, "signal_delay_s": 60, "max_tries": 2, "max_restarts": 5, **changes}
    return Job(runs=tuple(_run(runs_dir, name, behaviour) for name, behaviour in behaviours.items()), **values)


def _run(runs_dir: Path, name: str, behaviour: str | tuple[str, ...]) -> JobRun:
    run = RUNS[name]
    folder = prepare_folder(run, runs_dir).path
    typed = ("-I", "-S", STAND_IN, "train", str(folder), behaviour) if isinstance(behaviour, str) else behaviour
    needs = tuple((need, str(runs_dir / RUNS[need].run_id)) for need in RUNS if RUNS[need].run_id in run.needs)
    return JobRun(name=name, kind=run.kind, folder=str(folder), arguments=typed, needs=needs)


def status(runs_dir: Path, name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((runs_dir / RUNS[name].run_id / "status.json").read_text())
    return read


def endings(runs_dir: Path, name: str) -> list[str]:
    return [start["ending"] for start in read_history(runs_dir / RUNS[name].run_id)]


def send_when_started(runs_dir: Path, count: int, number: signal.Signals) -> None:
    def send() -> None:
        wait_for_starts(runs_dir, count)
        os.kill(os.getpid(), number)

    threading.Thread(target=send).start()


def test_runs_that_share_a_gpu_run_at_the_same_time(runs_dir: Path) -> None:
    assert carry_out(job(runs_dir, {"pretrain": "ok:0.5", "teacher": "ok:0.5"})) == ["pretrain", "teacher"]
    assert [event["event"] for event in read_trace(runs_dir)] == ["start", "start", "end", "end"]
    (start,) = read_history(runs_dir / RUNS["teacher"].run_id)
    assert (start["job"], start["restart"], start["ending"], start["reason"]) == ("12_3", 0, "done", None)


def test_a_run_that_is_done_is_not_started(runs_dir: Path) -> None:
    for _ in range(2):
        carry_out(job(runs_dir, {"pretrain": "ok"}))
    assert len(read_trace(runs_dir)) == 2


def test_a_run_that_fails_is_tried_again_and_then_given_up(runs_dir: Path) -> None:
    with pytest.raises(JobFailedError, match=r"^pretrain: ValueError: bad images$"):
        carry_out(job(runs_dir, {"pretrain": "fail", "teacher": "ok"}))
    starts = [event["id"] for event in read_trace(runs_dir) if event["event"] == "start"]
    assert sorted(starts) == sorted([RUNS["pretrain"].run_id] * 2 + [RUNS["teacher"].run_id])
    assert (status(runs_dir, "pretrain")["state"], endings(runs_dir, "pretrain")) == ("failed", ["failed"])
    assert endings(runs_dir, "teacher") == ["done"]


def test_bad_input_is_not_tried_again(runs_dir: Path) -> None:
    with pytest.raises(JobFailedError, match=r"^pretrain: no such beton$"):
        carry_out(job(runs_dir, {"pretrain": BAD_INPUT}))
    assert status(runs_dir, "pretrain")["error"] == "no such beton"
    log = (runs_dir / RUNS["pretrain"].run_id / "log.txt").read_text()
    assert log.count("=== ") == 1


def test_a_run_without_its_needs_is_not_started(runs_dir: Path) -> None:
    carry_out(job(runs_dir, {"pretrain": "ok"}))
    with pytest.raises(JobFailedError, match=r"^c: needs teacher, which is not done$"):
        carry_out(job(runs_dir, {"c": "ok"}))
    assert status(runs_dir, "c")["error"] == "needs teacher, which is not done"


def test_a_warned_job_puts_itself_back_into_the_queue(runs_dir: Path) -> None:
    send_when_started(runs_dir, 2, signal.SIGUSR2)
    with pytest.raises(SystemExit) as caught:
        carry_out(job(runs_dir, {"pretrain": "ok:30", "teacher": "ok:30"}))
    assert caught.value.code == 143
    assert (runs_dir.parent / "scontrol.txt").read_text() == "requeue 12_3\n"
    assert endings(runs_dir, "pretrain") == endings(runs_dir, "teacher") == ["preempted"]


def test_a_warning_near_the_time_limit_is_told_apart(runs_dir: Path) -> None:
    send_when_started(runs_dir, 1, signal.SIGUSR2)
    with pytest.raises(SystemExit):
        carry_out(job(runs_dir, {"pretrain": "ok:30"}, time_min=2))
    assert endings(runs_dir, "pretrain") == ["time limit"]


def test_a_job_that_is_being_ended_does_not_go_back(runs_dir: Path) -> None:
    send_when_started(runs_dir, 1, signal.SIGTERM)
    with pytest.raises(SystemExit):
        carry_out(job(runs_dir, {"pretrain": "ok:30"}))
    assert not (runs_dir.parent / "scontrol.txt").exists()
    assert endings(runs_dir, "pretrain") == ["terminated"]


def test_restarts_are_bounded(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "5")
    send_when_started(runs_dir, 1, signal.SIGUSR2)
    with pytest.raises(JobFailedError, match="stopped after 5 restarts, the last for: preempted"):
        carry_out(job(runs_dir, {"pretrain": "ok:30"}))
    assert status(runs_dir, "pretrain")["state"] == "failed"


def test_too_few_processes_are_refused(runs_dir: Path) -> None:
    with pytest.raises(JobFailedError, match="SLURM started 1 processes; the cluster profile asks for 4"):
        carry_out(job(runs_dir, {"pretrain": "ok"}, num_ranks=4))


def test_the_handlers_from_before_are_put_back(runs_dir: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    carry_out(job(runs_dir, {"pretrain": "ok"}))
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_start_settles_how_the_one_before_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(tmp_path, owner=True)
    for restart, ending in enumerate(("terminated", None, "time limit", "done")):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        history.start("12_3")
        if ending is not None:
            history.end(ending)
        time.sleep(0.001)
    starts = read_history(tmp_path)
    assert [start["ending"] for start in starts] == ["preempted", "killed", "time limit", "done"]
    assert all(start["started"] <= (start["ended"] or time.time()) for start in starts)
    History(tmp_path / "other", owner=False).start("1")
    assert read_history(tmp_path / "other") == []


def test_a_training_hears_of_a_stop_once_and_from_its_job_alone(runs_dir: Path) -> None:
    """SLURM signals every process of a step: SIGTERM must not reach the training beside what the job tells it."""
    script = (
        "import os, pathlib, signal, time; told = []; signal.signal(signal.SIGINT, lambda *_: told.append(1));"
        "os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGUSR2);"
        "pathlib.Path('{0}').joinpath('ready').touch()\n"
        "while not told: time.sleep(0.01)\n"
        "time.sleep(0.6); pathlib.Path('{0}').joinpath('told').write_text(str(len(told)))"
    )
    folder = runs_dir / RUNS["pretrain"].run_id

    def send() -> None:
        while not (folder / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    made = job(runs_dir, {"pretrain": ("-c", script.format(folder))})
    threading.Thread(target=send).start()
    with pytest.raises(SystemExit):
        carry_out(made)
    assert (folder / "told").read_text() == "1"
    assert endings(runs_dir, "pretrain") == ["terminated"]
    assert not (runs_dir.parent / "scontrol.txt").exists()
