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
from mps_stand_in import stand_in

from datasets.logging_setup import set_up_logging
from harness.runs.lock import RunLock
from launch.executors.placement import Placement
from launch.executors.prepare import prepare_folder
from launch.executors.slurm import entry, worker
from launch.executors.slurm.entry import JobFailedError, run_job
from launch.executors.slurm.worker import Job, JobRun
from launch.plan.history import History, read_history

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
    (programs / "scontrol").write_text(
        f'#!/bin/sh\n[ "$1" = show ] && exec cat {tmp_path}/record.txt\necho "$@" >> {tmp_path}/scontrol.txt\n'
    )
    (programs / "scontrol").chmod(0o755)
    (tmp_path / "record.txt").touch()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(entry, "REQUEUE_WAIT_S", 0.0)
    set_up_logging()
    return tmp_path / "runs"


def job(runs_dir: Path, behaviours: dict[str, str | tuple[str, ...]], **changes: Any) -> Job:
    values = {"num_ranks": 1, "time_min": 60, "signal_delay_s": 60, "max_tries": 2, "max_restarts": 5, **changes}
    return Job(runs=tuple(_run(runs_dir, name, behaviour) for name, behaviour in behaviours.items()), **values)


def _run(runs_dir: Path, name: str, behaviour: str | tuple[str, ...]) -> JobRun:
    run = RUNS[name]
    folder = prepare_folder(run, runs_dir).path
    typed = ("-I", "-S", STAND_IN, "train", str(folder), behaviour) if isinstance(behaviour, str) else behaviour
    needs = tuple((need, str(runs_dir / RUNS[need].run_id)) for need in RUNS if RUNS[need].run_id in run.needs)
    return JobRun(name=name, folder=str(folder), arguments=typed, needs=needs)


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
    assert run_job(job(runs_dir, {"pretrain": "ok:0.5", "teacher": "ok:0.5"})) == ["pretrain", "teacher"]
    assert [event["event"] for event in read_trace(runs_dir)] == ["start", "start", "end", "end"]
    (start,) = read_history(runs_dir / RUNS["teacher"].run_id)
    assert (start["job"], start["restart"], start["ending"], start["reason"]) == ("12_3", 0, "done", None)


SURROUNDINGS = (
    "import json, os, pathlib, sys; told = [os.environ.get('CUDA_VISIBLE_DEVICES'), sorted(os.sched_getaffinity(0))];"
    "pathlib.Path(sys.argv[1]).write_text(json.dumps(told)); sys.exit(2)"
)


@pytest.mark.parametrize(("gpus", "visible"), [(2, ["3", "5"]), (1, ["3,5,6"] * 2)])
def test_of_several_gpus_each_run_of_a_job_sees_its_own(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, visible: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6")
    cores = sorted(os.sched_getaffinity(0))
    files = [runs_dir.parent / name for name in ("pretrain", "teacher")]
    made = job(runs_dir, {path.name: ("-c", SURROUNDINGS, str(path)) for path in files}, gpus=gpus)
    with pytest.raises(JobFailedError):
        run_job(made)
    told = [json.loads(path.read_text()) for path in files]
    assert [seen for seen, _ in told] == visible
    half = len(cores) // 2
    assert [bound for _, bound in told] == ([cores[:half], cores[half : 2 * half]] if half else [cores] * 2)


def test_cores_to_which_slurm_binds_no_job_are_not_shared_out(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(runs_dir, {"pretrain": "ok", "teacher": "ok"})
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", str(len(os.sched_getaffinity(0)) - 1))
    with entry.placements(made) as places:
        assert places == [Placement()] * 2


def test_runs_of_a_job_share_a_gpu_by_mps_whose_daemon_ends_with_the_job(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost context is told as what it may be: a neighbour's fault."""
    calls = stand_in(runs_dir.parent, monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(JobFailedError, match=r"CUDA error: unspecified launch failure \(through its own fault, or"):
        run_job(job(runs_dir, {"pretrain": "fault", "teacher": "ok"}, mps=True))
    assert [line.split("|")[0] for line in calls.read_text().splitlines()] == ["-d", "get_server_list", "quit"]
    assert {line.split("|")[2] for line in calls.read_text().splitlines()} == {"GPU-bb"}
    assert status(runs_dir, "pretrain")["error"].endswith("or that of a run that shares its GPU by MPS)")
    (runs_dir.parent / "refuses").touch()
    with pytest.raises(JobFailedError, match=r"MPS: nvidia-cuda-mps-control does not start \(no device\)"):
        run_job(job(runs_dir, {"pretrain": "ok", "teacher": "ok"}, mps=True))


def test_a_job_that_sees_too_few_gpus_ends_with_one_line(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(JobFailedError, match="sees 1 of the 4 GPUs that the cluster profile asks for"):
        run_job(job(runs_dir, {"pretrain": "ok", "teacher": "ok"}, gpus=4))


def test_a_run_that_is_done_is_not_started(runs_dir: Path) -> None:
    for _ in range(2):
        run_job(job(runs_dir, {"pretrain": "ok"}))
    assert len(read_trace(runs_dir)) == 2


def test_a_run_that_fails_is_tried_again_and_then_given_up(runs_dir: Path) -> None:
    with pytest.raises(JobFailedError, match=r"^pretrain: ValueError: bad images$"):
        run_job(job(runs_dir, {"pretrain": "fail", "teacher": "ok"}))
    starts = [event["id"] for event in read_trace(runs_dir) if event["event"] == "start"]
    assert sorted(starts) == sorted([RUNS["pretrain"].run_id] * 2 + [RUNS["teacher"].run_id])
    assert (status(runs_dir, "pretrain")["state"], endings(runs_dir, "pretrain")) == ("failed", ["failed"] * 2)
    assert [start["given_up"] for start in read_history(runs_dir / RUNS["pretrain"].run_id)] == [False, True]
    assert endings(runs_dir, "teacher") == ["done"]


def test_a_run_over_several_processes_is_tried_again_by_a_job_that_starts_anew(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with pytest.raises(SystemExit):
        run_job(job(runs_dir, {"pretrain": "fail"}, num_ranks=2))
    assert (runs_dir.parent / "scontrol.txt").read_text() == "requeue 12_3\n"
    with pytest.raises(JobFailedError, match=r"^pretrain: ValueError: bad images$"):
        run_job(job(runs_dir, {"pretrain": "fail"}, num_ranks=2))
    assert (endings(runs_dir, "pretrain"), len(read_trace(runs_dir))) == (["failed"] * 2, 2)


def test_bad_input_is_not_tried_again(runs_dir: Path) -> None:
    with pytest.raises(JobFailedError, match=r"^pretrain: no such beton$"):
        run_job(job(runs_dir, {"pretrain": BAD_INPUT}))
    assert status(runs_dir, "pretrain")["error"] == "no such beton"
    log = (runs_dir / RUNS["pretrain"].run_id / "log.txt").read_text()
    assert log.count("=== ") == 1


def test_a_run_without_its_needs_is_not_started(runs_dir: Path) -> None:
    run_job(job(runs_dir, {"pretrain": "ok"}))
    with pytest.raises(JobFailedError, match=r"^c: needs teacher, which is not done$"):
        run_job(job(runs_dir, {"c": "ok"}))
    assert status(runs_dir, "c")["error"] == "needs teacher, which is not done"


def test_a_warned_job_puts_itself_back_into_the_queue(runs_dir: Path) -> None:
    send_when_started(runs_dir, 2, signal.SIGUSR2)
    with pytest.raises(SystemExit) as caught:
        run_job(job(runs_dir, {"pretrain": "ok:30", "teacher": "ok:30"}))
    assert caught.value.code == 143
    assert (runs_dir.parent / "scontrol.txt").read_text() == "requeue 12_3\n"
    assert endings(runs_dir, "pretrain") == endings(runs_dir, "teacher") == ["requeued"]


def test_a_job_that_may_not_be_queued_again_leaves_the_queue_once_its_runs_have_saved(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_when_started(runs_dir, 1, signal.SIGUSR2)
    with pytest.raises(
        JobFailedError, match=r"^could not be queued again \(the profile forbids it by no-requeue\); "
    ):
        run_job(job(runs_dir, {"pretrain": "ok:30"}, time_min=2, requeues=False))
    assert endings(runs_dir, "pretrain") == ["time limit"]
    run_job(job(runs_dir, {"pretrain": "ok"}, requeues=False))  # cxr grid watch submits again
    assert endings(runs_dir, "pretrain") == ["time limit", "done"]
    monkeypatch.setenv("SLURM_NTASKS", "2")  # all processes of a run start anew, so a failure is one of the job
    with pytest.raises(JobFailedError, match="could not be queued again"):
        run_job(job(runs_dir, {"teacher": "fail"}, num_ranks=2, requeues=False))
    assert endings(runs_dir, "teacher") == ["failed"]
    assert not (runs_dir.parent / "scontrol.txt").exists()


@pytest.mark.parametrize("failures", [entry.REQUEUE_TRIES - 1, entry.REQUEUE_TRIES])
def test_a_controller_that_does_not_answer_is_asked_again(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    scontrol, orders = runs_dir.parent / "bin" / "scontrol", runs_dir.parent / "scontrol.txt"
    down = f'[ "$(wc -l < {orders})" -le {failures} ] && {{ echo "Unable to contact slurm controller" >&2; exit 1; }}'
    scontrol.write_text(f"{scontrol.read_text()}{down}\nexit 0\n")
    monkeypatch.setattr(entry, "REQUEUE_PAUSE_S", 0.0)
    send_when_started(runs_dir, 1, signal.SIGUSR2)
    reason = r"^could not be queued again \(scontrol: Unable to contact slurm controller\)"
    gives_up = failures == entry.REQUEUE_TRIES
    with pytest.raises(JobFailedError, match=reason) if gives_up else pytest.raises(SystemExit):
        run_job(job(runs_dir, {"pretrain": "ok:30"}))
    assert orders.read_text() == "requeue 12_3\n" * entry.REQUEUE_TRIES
    assert endings(runs_dir, "pretrain") == ["requeued"]


def test_a_warning_near_the_time_limit_is_told_apart(runs_dir: Path) -> None:
    send_when_started(runs_dir, 1, signal.SIGUSR2)
    with pytest.raises(SystemExit):
        run_job(job(runs_dir, {"pretrain": "ok:30"}, time_min=2))
    assert endings(runs_dir, "pretrain") == ["time limit"]


def test_a_job_that_is_being_ended_does_not_go_back(runs_dir: Path) -> None:
    send_when_started(runs_dir, 1, signal.SIGTERM)
    with pytest.raises(SystemExit):
        run_job(job(runs_dir, {"pretrain": "ok:30"}))
    assert not (runs_dir.parent / "scontrol.txt").exists()
    assert endings(runs_dir, "pretrain") == ["terminated"]


@pytest.mark.parametrize("state", ["RUNNING", "SIGNALING"])
def test_a_preemption_with_a_grace_time_puts_the_job_back(runs_dir: Path, state: str) -> None:
    """SLURM sends SIGTERM and leaves the job running: it would end as failed, were it not queued again."""
    (runs_dir.parent / "record.txt").write_text(
        f"JobId=15 JobState={state} PreemptTime=2026-01-02T03:04:05 Restarts=0"
    )
    send_when_started(runs_dir, 1, signal.SIGTERM)
    with pytest.raises(SystemExit):
        run_job(job(runs_dir, {"pretrain": "ok:30"}))
    assert (runs_dir.parent / "scontrol.txt").read_text() == "requeue 12_3\n"
    assert endings(runs_dir, "pretrain") == ["preempted"]


def test_restarts_are_bounded(runs_dir: Path) -> None:
    for restarts in (1, 2):
        send_when_started(runs_dir, restarts, signal.SIGUSR2)
        with pytest.raises(SystemExit):
            run_job(job(runs_dir, {"pretrain": "ok:30"}, max_restarts=2))
    send_when_started(runs_dir, 3, signal.SIGUSR2)
    with pytest.raises(JobFailedError, match="stopped after 2 restarts, the last for: requeued"):
        run_job(job(runs_dir, {"pretrain": "ok:30"}, max_restarts=2))
    assert status(runs_dir, "pretrain")["state"] == "failed"
    assert (runs_dir.parent / "scontrol.txt").read_text() == "requeue 12_3\n" * 2
    run_job(job(runs_dir, {"pretrain": "ok"}, max_restarts=2))  # a person started it again


def test_a_run_that_is_killed_again_and_again_is_stopped_with_its_logs_last_lines(
    runs_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = prepare_folder(RUNS["pretrain"], runs_dir)
    folder.log_file.write_text("=== command\nstarting\nallocating 900 GB\n")
    for _ in range(2):
        History(folder.path, owner=True).start("12_3")  # and never a word again
    with pytest.raises(JobFailedError) as caught:
        run_job(job(runs_dir, {"pretrain": "ok"}))
    reason = "2 starts in a row ended by: killed (on "
    assert reason in str(caught.value)
    assert str(caught.value).endswith("), without a new checkpoint; its log ends: allocating 900 GB")
    assert "starting\nallocating 900 GB\n" in capfd.readouterr().err
    assert read_trace(runs_dir) == []
    assert endings(runs_dir, "pretrain") == ["killed", "killed", "failed"]
    run_job(job(runs_dir, {"pretrain": "ok"}))  # a person started it again
    assert endings(runs_dir, "pretrain")[3:] == ["done"]


def test_a_run_that_got_further_is_not_given_up(runs_dir: Path) -> None:
    folder = prepare_folder(RUNS["pretrain"], runs_dir)
    for _ in range(3):
        History(folder.path, owner=True).start("12_3")
        folder.last_dir.mkdir(parents=True, exist_ok=True)
        os.utime(folder.last_dir, (time.time(), time.time() + len(read_history(folder.path))))
    run_job(job(runs_dir, {"pretrain": "ok"}))
    assert endings(runs_dir, "pretrain") == ["killed", "killed", "killed", "done"]


def test_a_run_that_another_process_computes_is_left_alone(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LOCK_WAIT_S", 0.3)
    folder = prepare_folder(RUNS["pretrain"], runs_dir)
    History(folder.path, owner=True).start("11")
    lock = RunLock.acquire(folder.path)
    assert lock is not None
    with pytest.raises(JobFailedError, match="another process computes this run"):
        run_job(job(runs_dir, {"pretrain": "ok"}))
    assert not folder.status_file.exists()
    assert endings(runs_dir, "pretrain") == [None]
    monkeypatch.setattr(worker, "LOCK_WAIT_S", 20.0)
    threading.Timer(0.5, lock.release).start()
    run_job(job(runs_dir, {"pretrain": "ok"}))
    assert endings(runs_dir, "pretrain") == ["killed", "done"]


def test_too_few_processes_are_refused(runs_dir: Path) -> None:
    with pytest.raises(JobFailedError, match="SLURM started 1 processes; the cluster profile asks for 4"):
        run_job(job(runs_dir, {"pretrain": "ok"}, num_ranks=4))


def test_a_result_that_was_torn_does_not_fail_the_next_start(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from submitit import JobEnvironment
    from submitit.core.utils import temporary_save_path

    monkeypatch.setenv("SUBMITIT_FOLDER", str(runs_dir / "slurm"))
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    (runs_dir / "slurm").mkdir(parents=True)
    path = JobEnvironment().paths.result_pickle
    path.with_name(f"{path.name}.save_tmp").touch()
    with pytest.raises(AssertionError, match="already exists"), temporary_save_path(path):
        pass
    run_job(job(runs_dir, {"pretrain": "ok"}))
    with temporary_save_path(path) as beside:
        beside.touch()
    assert path.exists()


def test_the_handlers_from_before_are_put_back(runs_dir: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run_job(job(runs_dir, {"pretrain": "ok"}))
    assert signal.getsignal(signal.SIGTERM) is before


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
        run_job(made)
    assert (folder / "told").read_text() == "1"
    assert endings(runs_dir, "pretrain") == ["terminated"]
    assert not (runs_dir.parent / "scontrol.txt").exists()
