"""Jobs of a real SLURM that hold several runs: each has its GPU and cores, its state and its endings."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_events import release_held, wait_until
from shell import HERE, PROFILE, Shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
PACKED = PROFILE.replace("cpus_per_task", "runs_per_job = 2\ncpus_per_task")
BOTH = ("long_a", "long_b")


@pytest.fixture
def packed(shell: Shell) -> Shell:
    """Jobs of two runs, each with one of the pretend GPUs."""
    shell.profile.write_text(PACKED)
    return replace(shell, grid_file=str(HERE / "packed_grid.py"))


def surroundings(shell: Shell, name: str) -> tuple[str, set[int]]:
    """The GPUs that a run's process sees, and the cores that it may use."""
    pid = int(shell.status(name)["pid"])
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    (gpus,) = (line.partition("=")[2] for line in variables if line.startswith("CUDA_VISIBLE_DEVICES="))
    return gpus, os.sched_getaffinity(pid)


def endings(shell: Shell) -> list[list[str | None]]:
    return [shell.endings(name) for name in BOTH]


def test_two_runs_of_a_job_go_back_and_end_together(packed: Shell) -> None:
    assert packed.queue("long").err.splitlines()[0] == "2 runs: 2 queued"
    wait_until("both train", lambda: all(packed.is_under_way(name) for name in BOTH))
    (job,) = {packed.starts(name)[0]["job"] for name in BOTH}
    assert len(packed.cluster.run("squeue", "-h", "--array").splitlines()) == 1
    assert packed.cluster.run("squeue", "-h", "-j", job, "-o", "%C").strip() == "2"
    (gpu_a, cores_a), (gpu_b, cores_b) = (surroundings(packed, name) for name in BOTH)
    assert (gpu_a, gpu_b) == ("0", "1")
    cores = os.sched_getaffinity(0)
    expected = len(cores) // 2 if len(cores) <= 2 else len(cores)  # beyond what SLURM believes, none is bound
    assert len(cores_a) == len(cores_b) == expected
    packed.cluster.run("scancel", "--signal=USR2", job)
    wait_until("both are told", lambda: endings(packed) == [["requeued"]] * 2, 60)
    wait_until("they wait", lambda: {state["state"] for state in packed.states("long").values()} == {"queued"}, 60)
    release_held(packed.cluster)
    wait_until("both go on", lambda: all(len(packed.starts(name)) == 2 for name in BOTH))
    assert packed.grid("cancel", "--only", "long_a").err == "1 job cancelled\n"
    wait_until("both are told", lambda: endings(packed) == [["requeued", "cancelled"]] * 2, 60)
    packed.drain()
    assert {name: state["state"] for name, state in packed.states("long").items()} == {
        "long_a": "cancelled",
        "long_b": "partial",
    }


def test_a_run_that_fails_leaves_the_other_one_of_its_job_alone(packed: Shell) -> None:
    packed.profile.write_text(PACKED.replace("gpus_per_run = 1", "gpus_per_run = 0"))
    assert packed.queue("mixed").err.splitlines()[0] == "2 runs: 2 queued"
    packed.wait("mixed", lambda states: {state["state"] for state in states.values()} == {"failed", "done"}, 90)
    states = packed.states("mixed")
    assert "9999" in states["mixed_bad"]["error"] and states["mixed_good"]["error"] is None
    assert (packed.endings("mixed_bad"), packed.endings("mixed_good")) == (["failed"], ["done"])
