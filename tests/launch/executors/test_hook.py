"""``on_end`` on SLURM and on this machine: what it is told, and that no failure of it reaches a run."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import grid_stand_in
import pytest
from grid_stand_in import small_runs
from in_process_cli import run_cli

from datasets.logging_setup import set_up_logging
from launch.executors import hook
from launch.executors.hook import Hooks
from launch.executors.prepare import prepare_folder
from launch.executors.slurm.entry import JobFailedError, run_job
from launch.executors.slurm.worker import Job, JobRun

NAMES = ("RUN_NAME", "RUN_ID", "RUN_STATE", "RUN_ERROR", "RUN_DIR", "GRID", "JOB")
LINE = "echo " + "'|'".join(f'"$CXR_{name}"' for name in NAMES) + " >> "
BAD_INPUT = ("-c", "import sys; print('error: no such beton'); sys.exit(2)")
RUNS = small_runs()


def job(runs_dir: Path, on_end: str, **arguments: tuple[str, ...]) -> Job:
    """A job of runs by name: the arguments of each one's training, none for one that ends well."""
    runs = []
    for name, given in arguments.items():
        folder = str(prepare_folder(RUNS[name], runs_dir).path)
        well = ("-I", "-S", str(Path(grid_stand_in.__file__).resolve()), "train", folder, "ok")
        runs.append(JobRun(name=name, folder=folder, arguments=given or well, needs=()))
    values = {"num_ranks": 1, "time_min": 60, "signal_delay_s": 60, "max_tries": 2, "max_restarts": 5}
    return Job(runs=tuple(runs), grid="sizes", on_end=on_end, **values)


@pytest.fixture(autouse=True)
def in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    set_up_logging()


def test_a_hook_is_told_the_facts_of_each_run_that_ended_and_once(tmp_path: Path) -> None:
    told = tmp_path / "told.txt"
    with pytest.raises(JobFailedError, match="teacher: no such beton"):
        run_job(job(tmp_path, f"{LINE}{told}", pretrain=(), teacher=BAD_INPUT))
    first, second = RUNS["pretrain"].run_id, RUNS["teacher"].run_id
    lines = [
        f"pretrain|{first}|done||{tmp_path / first}|sizes|15",
        f"teacher|{second}|failed|no such beton|{tmp_path / second}|sizes|15",
    ]
    assert sorted(told.read_text().splitlines()) == lines
    assert run_job(job(tmp_path, f"{LINE}{told}", pretrain=())) == ["pretrain"]  # was done before
    assert sorted(told.read_text().splitlines()) == lines


@pytest.mark.parametrize("line", ["exit 3", "sleep 60", "\0"])
def test_a_hook_that_fails_or_hangs_does_a_run_no_harm(
    tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hook, "WAIT_S", 0.2)
    started = time.monotonic()
    assert run_job(job(tmp_path, line, pretrain=())) == ["pretrain"]
    assert time.monotonic() - started < 30
    assert json.loads((tmp_path / RUNS["pretrain"].run_id / "status.json").read_text())["state"] == "done"
    assert "warning: on_end " in capsys.readouterr().err


def test_a_hook_of_this_machine_is_told_the_same_of_each_run_that_ran(tmp_path: Path) -> None:
    told = tmp_path / "told.txt"
    runner = grid_stand_in.executor(tmp_path / "runs", {"teacher": "fail"})
    runner.hooks = Hooks(line=f"{LINE}{told}", grid="sizes")
    runner.run(grid_stand_in.plan(tmp_path / "runs"))
    lines = {line.split("|")[0]: line for line in told.read_text().splitlines()}
    assert sorted(lines) == ["a", "pretrain", "teacher"]  # those that need the teacher never ran
    for name, state in (("a", "done|"), ("pretrain", "done|"), ("teacher", "failed|ValueError: bad images")):
        run_id = RUNS[name].run_id
        assert lines[name] == f"{name}|{run_id}|{state}|{tmp_path / 'runs' / run_id}|sizes|"


def test_hooks_of_this_machine_that_fail_or_hang_do_no_run_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hook, "WAIT_S", 0.2)
    runner = grid_stand_in.executor(tmp_path, {})
    runner.hooks = Hooks(line='test "$CXR_RUN_NAME" = d && exec sleep 60; exit 3', grid="sizes")
    started = time.monotonic()
    outcomes = runner.run(grid_stand_in.plan(tmp_path))
    assert time.monotonic() - started < 30
    assert {outcome.state for outcome in outcomes} == {"done"}
    warnings = [line for line in capsys.readouterr().err.splitlines() if "on_end ended with status" in line]
    assert sorted({line.split("status ")[1].split(":")[0] for line in warnings}) == ["-9", "3"] and len(warnings) == 6


def test_on_end_of_a_cluster_is_the_profiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "profile.toml").write_text("")
    options = ("--cluster", str(tmp_path / "profile.toml"), "--data-dir", str(tmp_path), "--dry-run")
    assert run_cli("grid", "submit", "demo", "--on-end", "true", *options) == 2
    assert "--on-end and --device are for this machine; the cluster profile has them" in capsys.readouterr().err
