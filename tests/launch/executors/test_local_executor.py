"""The local executor on real processes: order, limits, failures, interrupts, two submits at once, no orphans."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import grid_stand_in
import pytest
from grid_stand_in import executor, plan, read_trace, small_runs, start_submit, wait_for_starts

from datasets.logging_setup import set_up_logging
from harness.runs.folder import RunFolder
from harness.runs.lock import RunLock, is_locked
from launch.executors import signals
from launch.executors.base import SubmitRequest
from launch.executors.placement import make_slots
from launch.executors.prepare import TrainCommand
from launch.executors.process import explain_exit
from launch.executors.signals import dying_with_parent
from launch.plan.run_state import process_lives

RUNS = small_runs()
NAMES = {run.run_id: name for name, run in RUNS.items()}


def submit(runs_dir: Path, behaviours: dict[str, str] | None = None, *, slots: int = 2) -> dict[str, str]:
    outcomes = executor(runs_dir, behaviours or {}, slots=slots).run(plan(runs_dir))
    return {outcome.run.name: outcome.state for outcome in outcomes}


def times(runs_dir: Path, event: str) -> dict[str, float]:
    return {NAMES[str(e["id"])]: float(str(e["time"])) for e in read_trace(runs_dir) if e["event"] == event}


def starts(runs_dir: Path) -> Counter[str]:
    return Counter(NAMES[str(event["id"])] for event in read_trace(runs_dir) if event["event"] == "start")


def wait_for_death(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(process_lives(pid, seen=time.time()) for pid in pids):
        assert time.monotonic() < deadline, "a child outlived its parent"
        time.sleep(0.02)


def test_runs_start_after_their_needs_and_no_more_than_slots(tmp_path: Path) -> None:
    assert submit(tmp_path, {"pretrain": "ok:0.5", "teacher": "ok:0.5"}, slots=2) == dict.fromkeys(RUNS, "done")
    assert starts(tmp_path) == Counter(list(RUNS))
    start, end = times(tmp_path, "start"), times(tmp_path, "end")
    for run in RUNS.values():
        assert all(end[NAMES[need]] <= start[run.name] for need in run.needs)
    at_once = [sum(start[other] <= moment < end[other] for other in RUNS) for moment in start.values()]
    assert max(at_once) == 2


def test_the_config_and_the_log_are_in_the_folder(tmp_path: Path) -> None:
    submit(tmp_path)
    run = RUNS["d"]
    folder = RunFolder(tmp_path / run.run_id)
    assert folder.config() == run.config
    document = json.loads(folder.config_file.read_text())
    assert (document["schema"], document["run_id"], document["name"]) == (1, run.run_id, run.config.name)
    header, line = folder.log_file.read_text().splitlines()
    assert header.startswith("=== ") and header.endswith(" ok")
    assert line == f"training in {run.run_id}"


def test_a_second_submit_starts_nothing(tmp_path: Path) -> None:
    submit(tmp_path)
    assert submit(tmp_path) == dict.fromkeys(RUNS, "skipped")
    assert starts(tmp_path) == Counter(list(RUNS))


def test_the_highest_priority_starts_first(tmp_path: Path) -> None:
    runner = executor(tmp_path, {}, slots=1)
    runner.priority = {RUNS[name].run_id: rank for rank, name in enumerate(["b", "teacher", "pretrain"], start=1)}
    runner.run(plan(tmp_path))
    start = times(tmp_path, "start")
    assert sorted(start, key=lambda name: start[name])[:3] == ["pretrain", "teacher", "b"]


def test_runs_start_in_the_order_of_the_longest_chain_of_the_planners_hours(tmp_path: Path) -> None:
    hours = {"pretrain": 2.0, "teacher": 1.0, "a": 4.0, "b": 1.0, "c": 2.0, "d": 4.0}
    runner, command = executor(tmp_path, {}, slots=1), TrainCommand(runs_dir=tmp_path, data_dir=tmp_path)
    by_id = {RUNS[name].run_id: value for name, value in hours.items()}
    runner.priority = SubmitRequest(grid="x", plan=plan(tmp_path), command=command, hours=by_id).priority
    runner.run(plan(tmp_path))
    start = times(tmp_path, "start")
    assert sorted(start, key=lambda name: start[name]) == ["pretrain", "a", "teacher", "d", "c", "b"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("fail", "ValueError: bad images"),
        ("crash", "exit status 3: something went wrong"),
        ("silent", "ended without a result.json: training in"),
    ],
)
def test_a_failure_fails_its_dependants_and_nothing_else(
    tmp_path: Path, behaviour: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging()
    outcomes = {o.run.name: o for o in executor(tmp_path, {"pretrain": behaviour}).run(plan(tmp_path))}
    assert {name: outcome.state for name, outcome in outcomes.items()} == {
        "pretrain": "failed",
        "teacher": "done",
        "a": "blocked",
        "b": "done",
        "c": "blocked",
        "d": "blocked",
    }
    assert outcomes["pretrain"].reason.startswith(reason)
    assert outcomes["a"].reason == "needs pretrain, which failed"
    assert outcomes["d"].reason == "needs a, which is blocked"
    status = json.loads(RunFolder(tmp_path / RUNS["pretrain"].run_id).status_file.read_text())
    assert (status["state"], status["error"]) == ("failed", outcomes["pretrain"].reason)
    shown = capsys.readouterr().err
    assert "failed pretrain" in shown
    assert ("    training in" in shown) == (behaviour != "silent")


def test_a_failed_run_is_tried_again_by_the_next_submit(tmp_path: Path) -> None:
    submit(tmp_path, {"pretrain": "fail"})
    assert submit(tmp_path, {"pretrain": "crash"})["pretrain"] == "failed"
    error = json.loads(RunFolder(tmp_path / RUNS["pretrain"].run_id).status_file.read_text())["error"]
    assert error == "exit status 3: something went wrong"
    expected = {"pretrain": "done", "teacher": "skipped", "a": "done", "b": "skipped", "c": "done", "d": "done"}
    assert submit(tmp_path) == expected
    assert starts(tmp_path)["pretrain"] == 3
    assert starts(tmp_path)["teacher"] == 1


def test_a_run_killed_by_a_signal_is_named(tmp_path: Path) -> None:
    process = start_submit(tmp_path, {"teacher": "ok:30"})
    pids = {str(e["id"]): int(str(e["pid"])) for e in wait_read(tmp_path)}
    os.kill(pids[RUNS["teacher"].run_id], signal.SIGKILL)
    ended = json.loads(process.communicate(timeout=20)[0])
    assert ended["teacher"] == ["failed", f"killed by SIGKILL (out of memory?): training in {RUNS['teacher'].run_id}"]
    assert ended["a"][0] == "done"


def test_the_error_line_of_bad_input_is_the_reason() -> None:
    assert explain_exit(2, ["loading", "error: x.beton: no such file"]) == "x.beton: no such file"
    assert explain_exit(1, []) == "exit status 1"
    assert explain_exit(-11, ["epoch 3"]) == "killed by SIGSEGV: epoch 3"
    assert explain_exit(-9, []) == "killed by SIGKILL (out of memory?)"


def wait_read(runs_dir: Path) -> list[dict[str, object]]:
    wait_for_starts(runs_dir, 2)
    return read_trace(runs_dir)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_children_and_the_next_submit_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    process = start_submit(tmp_path, {"pretrain": "ok:30", "teacher": "ok:30"})
    pids = wait_for_starts(tmp_path, 2)
    began = time.monotonic()
    process.send_signal(number)
    errors = process.communicate(timeout=20)[1]
    assert time.monotonic() - began < 2.0
    assert process.returncode == 130
    assert "stopping 2 runs" in errors
    assert not any(process_lives(pid, seen=time.time()) for pid in pids)
    assert {d.run.name: d.action for d in plan(tmp_path)}["pretrain"] == "run"
    assert submit(tmp_path) == dict.fromkeys(RUNS, "done")


def test_a_child_that_ignores_the_interrupt_is_killed_after_the_grace(tmp_path: Path) -> None:
    process = start_submit(tmp_path, {"pretrain": "stubborn:30"}, slots=1)
    pids = wait_for_starts(tmp_path, 1)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert not process_lives(pids[0], seen=time.time())


def test_killing_the_parent_leaves_no_child(tmp_path: Path) -> None:
    process = start_submit(tmp_path, {"pretrain": "stubborn:30", "teacher": "stubborn:30"})
    pids = wait_for_starts(tmp_path, 2)
    process.kill()
    process.communicate(timeout=20)
    wait_for_death(pids)
    assert not is_locked(tmp_path / RUNS["pretrain"].run_id)
    assert submit(tmp_path) == dict.fromkeys(RUNS, "done")


def test_a_child_whose_parent_is_gone_already_does_not_start() -> None:
    command = dying_with_parent(["echo", "started"])
    done = subprocess.run(["sh", "-c", '"$@"; true', "sh", *command], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_without_setpriv_the_command_is_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "setpriv").write_text("#!/bin/sh\necho ' --reset-env  clear all environment'\n")
    (tmp_path / "setpriv").chmod(0o755)
    for path in (tmp_path, tmp_path / "nowhere"):
        monkeypatch.setenv("PATH", str(path))
        signals._setpriv_knows_pdeathsig.cache_clear()
        assert dying_with_parent(["true", "1"]) == ["true", "1"]
    signals._setpriv_knows_pdeathsig.cache_clear()


def test_two_submits_at_once_run_nothing_twice(tmp_path: Path) -> None:
    first, second = (start_submit(tmp_path, {}, slots=2) for _ in range(2))
    ended = [json.loads(process.communicate(timeout=60)[0]) for process in (first, second)]
    assert all({state for state, _reason in outcome.values()} <= {"done", "skipped"} for outcome in ended)
    assert starts(tmp_path) == Counter(list(RUNS))


def test_a_run_that_another_submit_fails_is_not_tried_again(tmp_path: Path) -> None:
    other = start_submit(tmp_path, {"pretrain": "fail:1.5"}, slots=2)
    wait_for_starts(tmp_path, 2)
    outcomes = {o.run.name: o for o in executor(tmp_path, {}).run(plan(tmp_path))}
    other.communicate(timeout=20)
    assert outcomes["pretrain"].state == "failed"
    assert outcomes["pretrain"].reason == "ValueError: bad images"
    assert outcomes["a"].state == "blocked"
    assert starts(tmp_path)["pretrain"] == 1


def test_a_command_that_does_not_exist_fails_the_run(tmp_path: Path) -> None:
    runner = executor(tmp_path, {})
    runner.command = lambda run: ["/nowhere/python"]
    outcomes = {o.run.name: o for o in runner.run(plan(tmp_path))}
    assert outcomes["pretrain"].state == "failed"
    assert re.fullmatch("exit status 127: .*/nowhere/python: not found", outcomes["pretrain"].reason)


def test_a_folder_that_cannot_be_written_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / RUNS["pretrain"].run_id / "log.txt").mkdir(parents=True)
    outcomes = {o.run.name: o for o in executor(tmp_path, {}).run(plan(tmp_path))}
    assert outcomes["pretrain"].reason.startswith("could not be started: ")
    assert outcomes["b"].state == "done"


def test_a_lock_is_held_once_and_released(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    lock = RunLock.acquire(tmp_path)
    assert lock is not None
    assert RunLock.acquire(tmp_path) is None
    assert is_locked(tmp_path)
    lock.release()
    assert not is_locked(tmp_path)


def test_a_gpu_slot_reaches_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    runner = executor(tmp_path, {})
    runner._free = list(make_slots("auto", 1))
    code = "import os; print('sees', os.environ['CUDA_VISIBLE_DEVICES'])"
    runner.command = lambda run: [sys.executable, "-S", "-c", code]
    runner.run(plan(tmp_path, {"pretrain": RUNS["pretrain"]}))
    assert "sees 7" in RunFolder(tmp_path / RUNS["pretrain"].run_id).log_file.read_text()


def test_a_run_is_not_let_in_beside_another_where_there_is_no_room(tmp_path: Path) -> None:
    """Two slots of one GPU: both at once with room, one after the other without."""
    two = {name: RUNS[name] for name in ("pretrain", "teacher")}
    for room in (True, False):
        runs_dir = tmp_path / str(room)
        runner = executor(runs_dir, dict.fromkeys(two, "ok:0.5"))
        runner._free = [{"CUDA_VISIBLE_DEVICES": "7"}, {"CUDA_VISIBLE_DEVICES": "7"}]
        runner.room.admits = lambda run, gpu, beside, room=room: room or not beside
        assert [outcome.state for outcome in runner.run(plan(runs_dir, two))] == ["done", "done"]
        begun, ended = times(runs_dir, "start"), times(runs_dir, "end")
        assert (max(begun.values()) < min(ended.values())) is room


def test_a_run_started_by_hand_is_waited_for(tmp_path: Path) -> None:
    """Without a lock, a status that names a live process is enough."""
    folder = RunFolder(tmp_path / RUNS["teacher"].run_id)
    by_hand = subprocess.Popen(
        [sys.executable, grid_stand_in.__file__, "train", str(folder.path), "ok:1"], cwd=tmp_path
    )
    folder.path.mkdir()
    wait_for_starts(tmp_path, 1)
    assert submit(tmp_path) == dict.fromkeys(RUNS, "done")
    assert by_hand.wait(timeout=10) == 0
    assert starts(tmp_path)["teacher"] == 1


def test_a_zombie_and_a_reused_id_are_not_alive() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not process_lives(process.pid, seen=time.time())
    process.wait()
    assert process_lives(os.getpid(), seen=time.time())
    assert not process_lives(os.getpid(), seen=time.time() - 1e6)
