"""What a job of PBS, LSF, HTCondor or Kubernetes does on its node, with stand-ins for trainings."""

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

from launch.executors.clusters.job import GO_ON, run_job
from launch.executors.clusters.lsf import LsfExecutor
from launch.executors.clusters.queued import HeldJob, QueuedRun
from launch.executors.prepare import prepare_folder
from launch.executors.reconcile import write_cancelled
from launch.executors.slurm.worker import Job, JobRun
from launch.plan.history import read_history
from launch.plan.run_state import RunState

RUNS = small_runs()
STAND_IN = str(Path(grid_stand_in.__file__).resolve())
CATCHES = """
import pathlib, signal, sys, time
folder, caught = pathlib.Path(sys.argv[1]), []
signal.signal(signal.SIGUSR2, lambda number, _: caught.append(number))
ignored = [name for name in ("SIGINT", "SIGTERM") if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN]
(folder / "ready").touch()
while not caught:
    time.sleep(0.01)
time.sleep(0.5)  # in which a second signal would show
(folder / "caught").write_text(f"{ignored} {len(caught)}")
sys.exit(138)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CXR_JOB", "12.server")
    monkeypatch.delenv("CXR_STARTED", raising=False)
    return tmp_path / "pbs"


def record(folder: Path, name: str, behaviour: str | tuple[str, ...], **changes: Any) -> Path:
    run = RUNS[name]
    path = prepare_folder(run, folder.parent).path
    typed = ("-I", "-S", STAND_IN, "train", str(path), behaviour) if isinstance(behaviour, str) else behaviour
    needs = tuple((need, str(folder.parent / RUNS[need].run_id)) for need in RUNS if RUNS[need].run_id in run.needs)
    values = {"num_ranks": 1, "time_min": 60, "signal_delay_s": 60, "max_tries": 2, "max_restarts": 5, **changes}
    work = Job(runs=(JobRun(name=name, folder=str(path), arguments=typed, needs=needs),), **values)
    made = QueuedRun(run_id=run.run_id, work=work, profile="p")
    assert QueuedRun.read(made.write(folder)) == made
    return folder / f"{run.run_id}.json"


def endings(folder: Path, name: str) -> list[tuple[str, int]]:
    return [(start["ending"], start["restart"]) for start in read_history(folder.parent / RUNS[name].run_id)]


def send_when_started(folder: Path, number: signal.Signals) -> None:
    def send() -> None:
        wait_for_starts(folder.parent, 1)
        os.kill(os.getpid(), number)

    threading.Thread(target=send).start()


def test_a_run_that_is_done_ends_its_job_well_and_is_not_started_again(folder: Path) -> None:
    path = record(folder, "pretrain", "ok")
    assert [run_job(path), run_job(path)] == [0, 0]
    assert len(read_trace(folder.parent)) == 2
    assert endings(folder, "pretrain") == [("done", 0)]


def test_before_the_time_limit_a_run_saves_and_the_job_asks_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit counts from the start of the job's shell."""
    path = record(folder, "pretrain", "ok:60")
    monkeypatch.setenv("CXR_STARTED", str(time.time() - 3540 + 0.5))
    assert run_job(path) == GO_ON
    assert endings(folder, "pretrain") == [("time limit", 0)]
    record(folder, "pretrain", "ok")
    monkeypatch.setenv("CXR_STARTED", str(time.time()))
    assert run_job(path) == 0
    assert endings(folder, "pretrain") == [("time limit", 0), ("done", 1)]


def test_a_run_that_is_interrupted_again_and_again_is_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(folder, "pretrain", "ok:60", max_restarts=0)
    monkeypatch.setenv("CXR_STARTED", str(time.time() - 3540))
    assert run_job(path) == 1
    status = json.loads((folder.parent / RUNS["pretrain"].run_id / "status.json").read_text())
    assert status["error"] == "stopped after 0 restarts, the last for: time limit; see max_restarts in the profile"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_of_the_scheduler_is_a_stop_after_which_the_run_goes_on(
    folder: Path, number: signal.Signals
) -> None:
    path = record(folder, "pretrain", "ok:60")
    send_when_started(folder, number)
    assert run_job(path) == GO_ON
    assert endings(folder, "pretrain") == [("terminated", 0)]
    record(folder, "pretrain", "ok")
    assert run_job(path) == 0
    assert endings(folder, "pretrain") == [("requeued", 0), ("done", 1)]


def test_a_cancelled_job_does_not_ask_to_go_on(folder: Path) -> None:
    path = record(folder, "pretrain", "ok:60")

    def cancel() -> None:
        wait_for_starts(folder.parent, 1)
        write_cancelled(folder, {RUNS["pretrain"].run_id})
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=cancel).start()
    assert run_job(path) == 143
    assert endings(folder, "pretrain") == [("cancelled", 0)]
    assert run_job(path) == 143  # a queue that starts it all the same
    assert len(endings(folder, "pretrain")) == 1


def test_a_training_gets_one_signal_also_where_the_scheduler_signals_all_processes(folder: Path) -> None:
    path = record(folder, "pretrain", ())
    run = folder.parent / RUNS["pretrain"].run_id
    record(folder, "pretrain", ("-I", "-S", "-c", CATCHES, str(run)))

    def stop() -> None:
        while not (run / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    assert run_job(path) == GO_ON
    assert (run / "caught").read_text() == "['SIGINT', 'SIGTERM'] 1"


@pytest.mark.parametrize(
    ("name", "behaviour", "error"),
    [
        ("a", "ok", "needs pretrain, which is not done"),
        ("pretrain", "fail", "ValueError: bad images"),
        ("pretrain", ("-c", "import sys; print('error: no such beton'); sys.exit(2)"), "no such beton"),
    ],
)
def test_a_run_that_fails_fails_its_job(
    folder: Path, name: str, behaviour: str | tuple[str, ...], error: str
) -> None:
    assert run_job(record(folder, name, behaviour)) == 1
    status = json.loads((folder.parent / RUNS[name].run_id / "status.json").read_text())
    assert (status["state"], status["error"]) == ("failed", error)


def test_a_job_that_the_queue_does_not_show_yet_is_queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LSF answers from a copy of its queue that is some seconds old."""
    executor, run = LsfExecutor("lsf", tmp_path), RUNS["pretrain"]
    path = record(executor.folder, "pretrain", "ok")
    path.with_suffix(".sh").touch()
    QueuedRun(run_id=run.run_id, work=QueuedRun.read(path).work, profile="p", job="7").write(executor.folder)
    shown: list[HeldJob] = []
    monkeypatch.setattr(LsfExecutor, "read_queue", lambda self: shown)

    def state() -> RunState:
        return executor.states([run], lambda: {run.run_id: RunState()})[run.run_id]

    assert (state().state, state().job, state().waits_for) == ("queued", "7", "just submitted")
    os.utime(path, (0, time.time() - 31))
    assert (state().state, state().job) == ("absent", "7")
    shown.append(HeldJob(job="7", name=executor.job_name(run.run_id), state="running"))
    assert state().state == "running"
