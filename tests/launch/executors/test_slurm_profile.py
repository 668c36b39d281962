"""Cluster profiles, the options of sbatch that follow from them, and grids from a file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

import launch.executors.slurm
from datasets.errors import InputError
from launch.executors.slurm.environment import clean_environment
from launch.executors.slurm.profile import ClusterConfig, load_profile
from launch.executors.slurm.sbatch import gpus_of, render, sbatch_parameters
from launch.grids.registry import load_grid

EXAMPLE = Path(str(launch.executors.slurm.__file__)).parent / "example.toml"


def profile(tmp_path: Path, text: str) -> ClusterConfig:
    path = tmp_path / "profile.toml"
    path.write_text(text)
    return load_profile(path)


def test_the_example_is_a_profile() -> None:
    cluster = load_profile(EXAMPLE)
    assert (cluster.runs_per_gpu, cluster.threads_per_run, cluster.sbatch) == (2, 8, {"mail-type": "FAIL"})


def test_every_key_of_a_profile_is_in_the_example() -> None:
    text = EXAMPLE.read_text()
    assert [field.name for field in fields(ClusterConfig) if field.name not in text] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partitoin = 'x'", "key 'partitoin' is unknown; did you mean partition? known: nodes, "),
        ("time_min = '1-00:00:00'", "time_min: Input should be a valid integer; minutes, such as 1440 for 1-00:"),
        ("nodes = true", "nodes: Input should be a valid integer"),
        ("nodes = 2", "gpus_per_run = 1 must be a multiple of nodes = 2"),
        ("gpus_per_run = 2\nruns_per_gpu = 2", "runs_per_gpu above 1 needs gpus_per_run = 1"),
        ("cpus_per_task = 1\nruns_per_gpu = 2", "runs_per_gpu must not exceed cpus_per_task"),
        ("gpus_per_run = 2\nruns_per_job = 2", "runs_per_job needs gpus_per_run = 1, or 0 on the CPU, and nodes = 1"),
        ("runs_per_gpu = 2\nruns_per_job = 3", "runs_per_job = 3 must be a multiple of runs_per_gpu = 2"),
        ("mps = true", "mps is for runs that share a GPU: it needs runs_per_gpu above 1"),
        ("time_min = 2", "signal_delay_s must lie between 0 and the time limit, 120 s"),
        ("array_parallelism = 0", "array_parallelism: Input should be greater than or equal to 1"),
        ("device = 'tpu'", "device: Input should be 'auto', 'cpu' or 'cuda'"),
        ("x = [", "not a TOML file"),
    ],
)
def test_a_wrong_profile_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        profile(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--cluster .*none\.toml: no such file"):
        load_profile(tmp_path / "none.toml")


def test_sbatch_is_asked_for_what_the_profile_says(tmp_path: Path) -> None:
    cluster = profile(tmp_path, "nodes = 2\ngpus_per_run = 8\ncpus_per_task = 6\nmem_gb = 12\nqos = 'high'")
    parameters = sbatch_parameters(cluster, "cxr-x", "afterok:1")
    assert cluster.num_ranks == 8
    assert (parameters["nodes"], parameters["ntasks_per_node"], parameters["gpus_per_node"]) == (2, 4, 4)
    assert parameters["srun_args"] == ["--cpus-per-task=6", "--kill-on-bad-exit=1"]
    assert parameters["additional_parameters"] == {"requeue": True, "kill-on-invalid-dep": "yes", "mem": "12288M"}
    assert (parameters["dependency"], parameters["qos"], parameters["wckey"]) == ("afterok:1", "high", None)
    on_cpu = sbatch_parameters(ClusterConfig(gpus_per_run=0), "cxr-x", None)
    assert (on_cpu["gpus_per_node"], on_cpu["ntasks_per_node"]) == (None, 1)


@pytest.mark.parametrize("text", ["no-requeue = true", "no_requeue = true", "requeue = false"])
def test_a_profile_may_keep_jobs_from_being_queued_again(tmp_path: Path, text: str) -> None:
    cluster = profile(tmp_path, f"[sbatch]\n{text}\n")
    assert cluster.no_requeue == text.partition(" ")[0]
    lines = render(2, cluster, tmp_path, "cxr-x").splitlines()
    assert [line for line in lines if "requeue" in line] == ["#SBATCH --no-requeue"]
    for other in ("no-requeue = false", "requeue = true", "comment = 'cxr'"):
        cluster = profile(tmp_path, f"[sbatch]\n{other}\n")
        lines = render(2, cluster, tmp_path, "cxr-x").splitlines()
        assert cluster.requeues and [line for line in lines if "requeue" in line] == ["#SBATCH --requeue"]


def test_a_job_of_several_gpus_asks_for_each_what_one_needs(tmp_path: Path) -> None:
    cluster = profile(tmp_path, "runs_per_gpu = 2\nruns_per_job = 8\ncpus_per_task = 6")
    parameters = sbatch_parameters(cluster, "cxr-x", None)
    asked = ("nodes", "ntasks_per_node", "gpus_per_node", "cpus_per_task")
    assert [parameters[name] for name in asked] == [1, 1, 4, 24]
    assert parameters["srun_args"][0] == "--cpus-per-task=24"
    assert (cluster.runs_in_job, cluster.threads_per_run, cluster.num_ranks) == (8, 3, 1)
    on_cpu = ClusterConfig(gpus_per_run=0, runs_per_job=3, cpus_per_task=2)
    parameters = sbatch_parameters(on_cpu, "cxr-x", None)
    assert [parameters[name] for name in asked] == [1, 1, None, 6]


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("", "cuda"),
        ("gpus_per_run = 0", "auto"),
        ("device = 'cpu'", "cpu"),
        ("gpus_per_run = 0\ndevice = 'cuda'", "cuda"),
    ],
)
def test_a_run_that_asks_for_gpus_does_not_train_without(tmp_path: Path, text: str, device: str) -> None:
    assert profile(tmp_path, text).train_device == device


def test_gpus_of_a_node() -> None:
    texts = ("gpu:2", "gpu:a100:4(S:0-1)", "gpu:a100:4(S:0-1),gpu:2,license:9", "gpu", "(null)", "shard:gpux:8")
    assert [gpus_of(text) for text in texts] == [2, 4, 6, 1, 0, 0]


def test_new_jobs_inherit_nothing_of_an_enclosing_job(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in ("SLURM_JOB_ID", "MASTER_ADDR", "SLURM_CONF", "RANK"):
        monkeypatch.setenv(name, "x")
    with clean_environment():
        assert [name in os.environ for name in ("SLURM_JOB_ID", "MASTER_ADDR", "RANK", "SLURM_CONF")] == [
            *(False, False, False),
            True,
        ]
    assert os.environ["SLURM_JOB_ID"] == "x"


GRID_FILE = """
from harness.config import DataConfig, RunConfig
from launch.grids.grid import Grid, GridRun

def grid():
    configs = [RunConfig(data=DataConfig(dataset="chexpert", subset="1k"), seed=seed) for seed in range(2)]
    return Grid(name="mine", runs=tuple(GridRun(name=f"r{c.seed}", kind="repetition", config=c) for c in configs))
"""


def test_a_grid_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GRID_FILE)
    assert [run.name for run in load_grid(str(path)).runs] == ["r0", "r1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "'grid' is missing; expected a function"),
        ("def grid(): return 3", "returned int; expected a launch.grids.grid.Grid"),
        ("import nonsense_of_mine", "ModuleNotFoundError: No module named"),
    ],
)
def test_a_wrong_grid_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_grid(str(path))
    with pytest.raises(InputError, match="no such file"):
        load_grid(str(tmp_path / "none.py"))
