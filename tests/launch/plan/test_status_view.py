"""``cxr grid status``: states, times to go, restarts, progress; and a watch that follows real files."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from grid_stand_in import small_runs
from hypothesis import given
from hypothesis import strategies as st
from in_process_cli import rendered

from datasets.files import write_json
from launch.cli import main
from launch.grids.registry import load_grid
from launch.plan.cost import estimate
from launch.plan.run_state import RunState, State, read_state
from launch.plan.tables import is_over, moving_table, progress_line, status_tables

RUNS = small_runs()
LIST = list(RUNS.values())
SPLITS = {"chexpert": {"train": 150, "validation": 50}}
DEMO = load_grid("demo")


def by_id(default: State = "absent", **states: RunState) -> dict[str, RunState]:
    return {run.run_id: states.get(name, RunState(state=default)) for name, run in RUNS.items()}


def write_state(runs_dir: Path, number: int, state: str, **values: Any) -> Path:
    """The status of the demo's run of this number, from a process on another host."""
    folder = runs_dir / DEMO.runs[number].run_id
    status = {"state": state, "epoch": 3, "epochs": 6, "updated": time.time(), "pid": 1, "host": "elsewhere"}
    write_json(
        folder / "status.json", {**status, "error": None, "mean_auroc": 0.61234, "images_per_s": 90.0, **values}
    )
    return folder


def test_a_table_shows_speed_time_to_go_restarts_and_reasons() -> None:
    states = by_id(
        pretrain=RunState(state="done", mean_auroc=0.8, restarts=3, preempted=2, timed_out=1),
        teacher=RunState(state="running", epoch=64, epochs=128, mean_auroc=0.75, images_per_s=100.0, device="cpu"),
        a=RunState(state="failed", error="ValueError: x"),
        b=RunState(state="queued", job="7_1", waits_for="Priority"),
    )
    lines = rendered(status_tables(LIST, states, SPLITS), 120).splitlines()
    shown = {words[1]: words for line in lines if len(words := line.split()) > 6}
    assert shown["pretrain"][5:] == ["-", "3", "2", "x", "preempted,", "1", "x", "at", "the", "time", "limit"]
    assert shown["teacher"] == [
        "running",
        "teacher",
        "64/128",
        "0.7500",
        "100",
        "1:47",
        "-",
        "on",
        "cpu",
    ]  # 32,000 passes / 300
    assert shown["a"][7:] == ["ValueError:", "x"]
    assert shown["b"][7:] == ["job", "7_1,", "Priority"]
    assert shown["d"][7:] == ["needs", "a,", "teacher"]


def test_the_progress_line_counts_and_looks_ahead() -> None:
    everything = by_id("done")
    cost = estimate(LIST, everything, SPLITS)
    assert progress_line(LIST, everything, cost) == "6 runs: 6 done"
    assert progress_line(LIST, everything) == "6 runs: 6 done"
    running = by_id(
        "done",
        b=RunState(state="running", epoch=32, epochs=128),
        c=RunState(state="running", epoch=64, epochs=128),
    )
    cost = estimate(LIST, running, {"chexpert": {"train": 1, "validation": 9_999_996}}, 100.0)  # 1,185.2 h a run
    assert progress_line(LIST, running, cost) == (
        "6 runs: 4 done, 2 running; 1,481 h of 7,111 h of GPU time left, at least 889 h with 2 at once"
    )


def test_a_small_window_shows_some_of_each_state_that_moves() -> None:
    runs = load_grid("paper").runs
    found = {run.run_id: RunState(state=("running", "failed", "done")[n % 3]) for n, run in enumerate(runs)}
    text = rendered([moving_table(runs, found, {}, 10)], 100)
    assert (text.count("running"), text.count("failed"), text.count("done")) == (5, 5, 0)
    assert f"run ({107 + 107 - 10} more)" in text
    assert "run " in rendered([moving_table(LIST, by_id(a=RunState(state="running")), {}, 10)], 100)


@given(states=st.fixed_dictionaries(dict.fromkeys(RUNS, st.sampled_from(["absent", "running", "done", "failed"]))))
def test_all_is_over_when_every_open_run_needs_a_failed_one(states: dict[str, State]) -> None:
    over = is_over(LIST, by_id(**{name: RunState(state=state) for name, state in states.items()}))
    needs = {"a": ["pretrain"], "b": ["teacher"], "c": ["pretrain", "teacher"], "d": ["a", "teacher"]}
    ended = {"done", "failed"}
    stuck = {name for name, state in states.items() if state == "failed"}
    for name in ("a", "b", "c", "d"):
        if stuck & set(needs.get(name, [])):
            stuck.add(name)
    assert over == all(state in ended or name in stuck for name, state in states.items())


def test_energy_is_that_of_the_runs_whose_devices_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    states = by_id("done", a=RunState(state="done", energy_kwh=0.5), b=RunState(state="partial", energy_kwh=0.25))
    cost = estimate(LIST, states, SPLITS)
    assert "; 0.75 kWh used by 2 runs" in progress_line(LIST, states, cost)
    assert "kWh" not in progress_line(LIST, by_id("done"), cost)
    folder = write_state(tmp_path, 0, "interrupted", energy_kwh=1.5)
    with pytest.raises(SystemExit):
        main(["grid", "status", "demo", "--runs-dir", str(tmp_path), "--json"])
    document = json.loads(capsys.readouterr().out)
    told = {run["id"]: run["energy_kwh"] for run in document["runs"] if run["energy_kwh"] is not None}
    assert (document["energy_kwh"], told) == (1.5, {folder.name: 1.5})


def test_restarts_come_from_the_history_and_the_result(tmp_path: Path) -> None:
    run = RUNS["a"]
    folder = tmp_path / run.run_id
    endings = ["preempted", "time limit", "preempted", None]
    write_json(folder / "attempts.json", [{"ending": ending} for ending in endings])
    write_json(folder / "status.json", {"state": "interrupted"})
    found = read_state(run, tmp_path, {})
    assert (found.restarts, found.preempted, found.timed_out) == (3, 2, 1)
    write_json(
        folder / "result.json", {"restarts": 5, "seconds": 100.0, "world_size": 2, "test": {"mean_auroc": 0.8}}
    )
    found = read_state(run, tmp_path, {})
    assert (found.restarts, found.preempted, found.gpu_seconds) == (5, 2, 200.0)


def test_json_has_the_whole_grid_and_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_state(tmp_path, 1, "running", epoch=1, epochs=2)
    write_state(tmp_path, 2, "failed", error="ValueError: x")
    with pytest.raises(SystemExit):
        main(["grid", "status", "demo", "--runs-dir", str(tmp_path), "--json", "--images-per-s", "100"])
    document = json.loads(capsys.readouterr().out)
    assert document["counts"] == {"running": 1, "failed": 1, "absent": 9}
    assert document["eta_s"] == pytest.approx(3600 * document["gpu_hours_left"])
    assert 0 < document["gpu_hours_left"] < document["gpu_hours"]
    running, failed = document["runs"][1:3]
    passes = 90_265 * 3 + 11_031  # one of two epochs of ChestX-ray14, each validated
    assert running["eta_s"] == pytest.approx(passes / (90.0 * 3))
    assert (failed["state"], failed["error"], failed["eta_s"]) == ("failed", "ValueError: x", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--watch", "--json"], "--watch --json: choose one"),
        (["--watch", "--interval-s", "0"], "--interval-s 0: expected a number above 0"),
    ],
)
def test_a_watch_refuses_what_it_cannot_do(options: list[str], message: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["grid", "status", "demo", *options])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def watch(runs_dir: Path, **streams: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "launch.cli", "grid", "status", "demo", "--runs-dir", str(runs_dir)]
    options = ["--only", "pretrain_chestxray14_d121", "--watch", "--interval-s", "0.2"]
    environment = {**os.environ, "COLUMNS": "150", "LINES": "40", "TERM": "xterm"}
    return subprocess.Popen([*command, *options], stderr=subprocess.PIPE, env=environment, **streams)


def test_a_watch_into_a_pipe_prints_lines_and_ends_with_the_runs(tmp_path: Path) -> None:
    folder = write_state(tmp_path, 1, "running")
    process = watch(tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert b"1 run: 1 running; " in process.stdout.readline()
    write_json(folder / "result.json", {"test": {"mean_auroc": 0.8}, "epochs": 6})
    rest, _ = process.communicate(timeout=120)
    assert rest.splitlines()[-1] == b"1 run: 1 done"
    assert process.returncode == 0


def test_ctrl_c_ends_a_watch_on_a_terminal_with_130(tmp_path: Path) -> None:
    write_state(tmp_path, 1, "running")
    primary, secondary = pty.openpty()
    process = watch(tmp_path, stdout=secondary)
    os.close(secondary)
    seen, deadline = b"", time.monotonic() + 120
    while b"at once" not in seen and time.monotonic() < deadline:
        seen += os.read(primary, 65536)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    os.close(primary)
    assert b"pretrain_chestxray14_d121" in seen
    assert b"3/6" in seen
    assert b"0.6123" in seen
    assert process.returncode == 130
    assert error.startswith(b"interrupted")
