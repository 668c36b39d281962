"""Each key of a cluster profile, alone and all together, as the controller records the jobs that it gave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from in_process_cli import run_cli

from launch.executors.slurm import sbatch
from launch.executors.slurm.profile import ClusterConfig
from launch.executors.slurm.queue import job_record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
HELD = "hold = true"
KEYS: dict[str, tuple[str, dict[str, str], str]] = {
    "nodes": ("nodes = 2\ngpus_per_run = 2", {"NumNodes": "2-2", "NumTasks": "2"}, "--nodes=2"),
    "gpus_per_run": ("gpus_per_run = 2", {"TresPerNode": "gres:gpu:2"}, "--gpus-per-node=2"),
    "runs_per_gpu": ("runs_per_gpu = 2\ncpus_per_task = 2", {"CPUs/Task": "2"}, "--cpus-per-task=2"),
    "mps": ("mps = true\nruns_per_gpu = 2\ncpus_per_task = 2", {"CPUs/Task": "2"}, "--cpus-per-task=2"),
    "runs_per_job": (
        "runs_per_job = 2\ncpus_per_task = 1",
        {"CPUs/Task": "2", "TresPerNode": "gres:gpu:2"},
        "--gpus-per-node=2",
    ),
    "cpus_per_task": ("cpus_per_task = 1", {"CPUs/Task": "1"}, "--cpus-per-task=1"),
    "mem_gb": ("mem_gb = 1.5", {"MinMemoryNode": "1.50G"}, "--mem=1536M"),
    "time_min": ("time_min = 90", {"TimeLimit": "01:30:00"}, "--time=90"),
    "signal_delay_s": ("signal_delay_s = 60", {}, "--signal=USR2@60"),
    "partition": ('partition = "warned"', {"Partition": "warned"}, "--partition=warned"),
    "account": ('account = "root"', {"Account": "root"}, "--account=root"),
    "qos": ('qos = "normal"', {"QOS": "normal"}, "--qos=normal"),
    "constraint": ('constraint = "fast"', {"Features": "fast"}, "--constraint=fast"),
    "wckey": ('wckey = "lungs"', {}, "--wckey=lungs"),
    "exclude": ('exclude = "n4"', {"ExcNodeList": "n4"}, "--exclude=n4"),
    "array_parallelism": ("array_parallelism = 2", {"ArrayTaskThrottle": "2"}, "%2\n"),
    "max_running": ("max_running = 2", {"ArrayTaskThrottle": "2"}, "%2\n"),
    "max_nice": ("max_nice = 9", {"Nice": "0"}, ""),
    "max_restarts": ("max_restarts = 4", {}, ""),
    "max_tries": ("max_tries = 5", {}, ""),
    "device": ('device = "cpu"', {}, "--device cpu"),
    "setup": ('setup = ["export CHEST=1"]', {}, "\n  export CHEST=1\n"),
    "on_end": ('on_end = "true"', {}, ""),
    "python": ('python = "nice python3"', {}, "nice python3 -u -m launch.executors.slurm.start"),
    "sbatch": ("", {"JobState": "PENDING", "Comment": "chests"}, "--comment=chests"),
}
"""For each key: a profile, what ``scontrol show job`` then says, and what the dry run shows."""
SBATCH = f'[sbatch]\n{HELD}\ncomment = "chests"\n'
APART = ("nodes", "gpus_per_run", "mps", "runs_per_job", "cpus_per_task")
ALL = {name: KEYS[name] for name in KEYS if name not in APART} | {
    "nodes": ("nodes = 1\ngpus_per_run = 1", {"NumNodes": "1-1"}, "--nodes=1")
}


GRID = """
from launch.grids.grid import Grid, GridRun
from tiny_grid import config

def grid():
    return Grid(name="flat", runs=tuple(GridRun(name=f"r{i}", kind="repetition", config=config(i)) for i in range(6)))
"""


@pytest.fixture
def submit(cluster: Cluster, tmp_path: Path, data_dir: Path) -> Iterator[list[str]]:
    """The submission of six runs without needs by ``profile.toml``; the queue is empty at its end."""
    (tmp_path / "flat.py").write_text(GRID)
    options = ["--runs-dir", str(tmp_path / "runs"), "--data-dir", str(data_dir), "--allow-dirty"]
    yield ["grid", "submit", str(tmp_path / "flat.py"), "--cluster", str(tmp_path / "profile.toml"), *options]
    cluster.run("scancel", "--user=root")


@pytest.mark.parametrize("key", [*KEYS, "all"])
def test_each_key_reaches_the_queue_and_is_in_the_dry_run(
    submit: list[str], key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(KEYS) == {field.name for field in fields(ClusterConfig)}
    chosen = list(ALL.values()) if key == "all" else [KEYS[key], KEYS["sbatch"]]
    text = "\n".join([*(text for text, _, _ in chosen), SBATCH])
    fits = "" if "cpus_per_task" in text else "cpus_per_task = 1\n"  # a node has two cores
    (tmp_path / "profile.toml").write_text(fits + text)
    assert run_cli(*submit, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert [words for _, _, words in chosen if words not in shown] == []
    assert not (tmp_path / "runs").exists()
    assert run_cli(*submit) == 0
    assert capsys.readouterr().err.splitlines()[0] == "6 runs: 6 queued"
    (path,) = (tmp_path / "runs" / "slurm").glob("cxr-*.json")
    record = job_record(json.loads(path.read_text())["job"])
    expected = {name: value for _, values, _ in chosen for name, value in values.items()}
    assert {name: record.get(name) for name in expected} == expected
    assert run_cli("grid", "cancel", submit[2], "--runs-dir", str(tmp_path / "runs")) == 0


def test_a_submission_that_fails_leaves_nothing_behind(
    submit: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "profile.toml").write_text("cpus_per_task = 1\nmem_gb = 1\n")
    parameters = sbatch.sbatch_parameters

    def wrong(*arguments: Any) -> dict[str, Any]:
        return {**parameters(*arguments), "mem_gb": 1}

    monkeypatch.setattr(sbatch, "sbatch_parameters", wrong)
    assert run_cli(*submit) == 1
    assert "ValueError: Unavailable parameter" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "runs").rglob("*")] == ["slurm", ".lock"]
    monkeypatch.undo()
    (tmp_path / "profile.toml").write_text("cpus_per_task = 1\n[sbatch]\nhold = true\n")
    assert run_cli(*submit) == 0


def test_filters_of_the_users_shell_hide_no_job(
    submit: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "profile.toml").write_text("cpus_per_task = 1\n[sbatch]\nhold = true\n")
    filters = {"SQUEUE_STATES": "RUNNING", "SQUEUE_PARTITION": "urgent", "SQUEUE_USERS": "nobody"}
    for name, value in {**filters, "SLURM_CLUSTERS": "elsewhere", "SQUEUE_FORMAT": "%i"}.items():
        monkeypatch.setenv(name, value)
    for words in ("queued", "already queued or running"):
        assert run_cli(*submit) == 0
        assert capsys.readouterr().err.splitlines()[0] == f"6 runs: 6 {words}"
    assert len(list((tmp_path / "runs" / "slurm").glob("cxr-*.json"))) == 1
