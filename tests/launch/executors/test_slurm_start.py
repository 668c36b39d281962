"""Jobs of a submission in one file, what a job writes before its run starts, and submissions that are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import grid_stand_in
import pytest
from grid_stand_in import small_runs

from benchmarks.grids.fake_slurm import num_calls, write_commands
from datasets.errors import InputError
from harness.runs.folder import RunFolder
from launch.executors.placement import Placement
from launch.executors.prepare import config_text, prepare_folder, write_config
from launch.executors.signals import StopSignals
from launch.executors.slurm.environment import JobStart
from launch.executors.slurm.start import JOBS_NAME, read_job, write_jobs
from launch.executors.slurm.submission import read_submissions
from launch.executors.slurm.worker import Job, JobRun, RunWorker
from launch.grids.toml_file import load_grid_toml

RUNS = small_runs()
STAND_IN = str(Path(grid_stand_in.__file__).resolve())
START = JobStart(job="12_1", num_tasks=1, rank=0, restart=0, node="n1")
GRID = """
[defaults]
data = { dataset = "chestxray14", subset = "200" }
[[runs]]
name = "teacher"
kind = "prerequisite"
[[runs]]
name = "student"
seeds = 3
network.name = "densenet40"
init.kind = "none"
objective.method = "attention_transfer"
objective.teacher.run = "teacher"
"""


def job(runs_dir: Path, *names: str) -> Job:
    return Job(
        runs=tuple(job_run(runs_dir, name) for name in names),
        num_ranks=1,
        time_min=60,
        signal_delay_s=60,
        max_tries=2,
        max_restarts=5,
    )


def job_run(runs_dir: Path, name: str) -> JobRun:
    run, folder = RUNS[name], str(runs_dir / RUNS[name].run_id)
    needs = tuple((need.name, f"{runs_dir}/{need.run_id}") for need in run.config.needs)
    typed = ("-I", "-S", STAND_IN, "train", folder, "ok")
    return JobRun(name=name, folder=folder, arguments=typed, needs=needs, config=config_text(run))


def test_each_task_finds_its_job_in_the_file(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "pretrain", "teacher"), job(tmp_path, "a")]
    write_jobs(tmp_path / "cxr-x-1", jobs)
    assert [path.name for path in tmp_path.rglob("*")] == ["cxr-x-1", JOBS_NAME]  # and no folder of a run
    assert [read_job(tmp_path / "cxr-x-1", task) for task in (0, 1)] == jobs


@pytest.mark.parametrize("text", [None, "", "{}\n", '{"runs": \n'])
def test_a_file_of_jobs_that_is_lost_or_torn_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / JOBS_NAME).write_text(text)
    with pytest.raises(InputError, match=rf"{JOBS_NAME}: (no job 0 .* queues its runs again|job 0: \w+: )"):
        read_job(tmp_path, 0)


@pytest.mark.parametrize("before", [None, b"", b'{"schema": 1, "ru', b"\xff"])
def test_a_job_writes_the_config_that_its_run_reads(tmp_path: Path, before: bytes | None) -> None:
    folder = RunFolder(tmp_path / RUNS["a"].run_id)
    if before is not None:
        folder.path.mkdir()
        folder.config_file.write_bytes(before)
    worker = RunWorker(job(tmp_path, "a"), job_run(tmp_path, "a"), START, Placement())
    worker.begin(StopSignals())
    worker.close()
    assert worker.failure is not None and worker.failure.endswith("which is not done")  # and yet it has its config
    other = prepare_folder(RUNS["a"], tmp_path / "other").config_file
    assert folder.config_file.read_bytes() == other.read_bytes()
    assert folder.config() == RUNS["a"].config


def test_a_config_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    folder = prepare_folder(RUNS["a"], tmp_path)
    before = folder.config_file.stat()
    write_config(folder, config_text(RUNS["a"]))
    after = folder.config_file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_task_starts_its_run_by_the_file_alone(tmp_path: Path) -> None:
    folder, runs_dir = tmp_path / "cxr-x-1", tmp_path / "runs"
    write_jobs(folder, [job(runs_dir, "a"), job(runs_dir, "pretrain")])
    said = {"SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_NTASKS": "1"}
    environment = {**os.environ, **said, "SLURM_ARRAY_TASK_ID": "1", "SLURM_PROCID": "0"}
    command = [sys.executable, "-m", "launch.executors.slurm.start", str(folder)]
    for _ in range(2):  # a job that is queued again finds what its first start left
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
        assert (done.returncode, "Job completed successfully" in done.stderr + done.stdout) == (0, True), done.stderr
    assert {path.name for path in folder.iterdir()} == {JOBS_NAME, "12_1_submitted.pkl", "12_1_0_result.pkl"}
    assert [path.name for path in runs_dir.iterdir() if path.is_dir()] == [RUNS["pretrain"].run_id]
    assert RunFolder(runs_dir / RUNS["pretrain"].run_id).config() == RUNS["pretrain"].config


@pytest.mark.parametrize("accepted", [True, False])
def test_a_submit_that_is_killed_in_sbatch_loses_nothing_and_queues_nothing_twice(
    tmp_path: Path, accepted: bool
) -> None:
    slurm, runs_dir = write_commands(tmp_path / "slurm"), tmp_path / "runs"
    (tmp_path / "grid.toml").write_text(GRID)
    (tmp_path / "profile.toml").write_text('partition = "gpu"\n')
    (tmp_path / "chestxray14.beton").touch()
    sbatch = slurm / "sbatch"
    real = sbatch.read_text()
    # The second call, that of the students, kills the submit: before or after SLURM has the jobs.
    kill = 'if [ "$number" = 2 ]; then kill -9 $PPID; fi\n' if accepted else ""
    early = "" if accepted else 'if [ "$(cat "$here/number")" = 1 ]; then kill -9 $PPID; exit 1; fi\n'
    lines = real.splitlines(keepends=True)
    sbatch.write_text("".join([*lines[:3], early, *lines[3:-1], kill, lines[-1]]))
    command = [sys.executable, "-m", "launch.cli", "grid", "submit", str(tmp_path / "grid.toml"), "--allow-dirty"]
    command += ["--cluster", str(tmp_path / "profile.toml"), "--runs-dir", str(runs_dir), "--data-dir", str(tmp_path)]
    environment = {**os.environ, "PATH": f"{slurm}{os.pathsep}{os.environ['PATH']}"}
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert killed.returncode == -9, killed.stderr
    sbatch.write_text(real)
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert again.returncode == 0, again.stderr
    assert num_calls(slurm)["sbatch"] == (2 if accepted else 3)
    queue = (slurm / "queue.txt").read_text().splitlines()
    assert [line.partition("|")[0] for line in queue] == ["1", *(f"{2}_{task}" for task in range(3))]
    assert [path.name for path in runs_dir.iterdir()] == ["slurm"]
    grid = load_grid_toml(tmp_path / "grid.toml")

    for made in read_submissions(runs_dir / "slurm"):
        for task, run_ids in enumerate(made.tasks):
            found = read_job(runs_dir / "slurm" / made.name, task)
            assert [Path(run.folder).name for run in found.runs] == list(run_ids)
            assert [run.config for run in found.runs] == [config_text(grid.by_id[run_id]) for run_id in run_ids]
    assert len({line.rpartition("|")[2] for line in queue}) == 2  # each array has its own name


def test_the_text_of_a_config_file_is_what_it_says(tmp_path: Path) -> None:
    folder = prepare_folder(RUNS["a"], tmp_path)
    assert json.loads(folder.config_file.read_text()) == json.loads(config_text(RUNS["a"]))
    assert list(json.loads(config_text(RUNS["a"]))) == ["schema", "run_id", "name", "config"]
