"""The profile's ``on_end``: what it is told, and that neither its failure nor its hanging reaches a run."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import grid_stand_in
import pytest
from grid_stand_in import small_runs

from datasets.logging_setup import set_up_logging
from launch.executors.prepare import prepare_folder
from launch.executors.slurm import hook
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
