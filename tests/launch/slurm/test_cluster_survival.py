"""Runs that a real SLURM stops: preempted in three ways, cancelled, and without accounting or a controller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from cluster import Cluster
from cluster_events import node_of, preempt, release_held, wait_until
from shell import PROFILE, Shell

from harness.runs.checkpoint_folder import whole_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
EPOCHS, IMAGES = 12, 32


def images_trained(folder: Path) -> int:
    """Training images up to the last checkpoint, that of a step in the middle of an epoch included."""
    checkpoint = whole_folder(folder / "checkpoint" / "last")
    assert checkpoint is not None
    position = torch.load(checkpoint / "state.pt", weights_only=True)["position"]
    partial = position["partial"]
    return int(position["epoch"] * IMAGES + (0 if partial is None else partial["images"]))


def images_announced(folder: Path) -> list[int]:
    """Images that each start's last line of progress says it had to train."""
    lines = [line.split("/")[1] for line in (folder / "log.txt").read_text().splitlines() if " images, " in line]
    return [int(line.split()[0].replace(",", "")) for line in lines]


def watch(shell: Shell, only: str) -> subprocess.Popen[str]:
    options = ("--allow-dirty", "--only", only, "--interval-s", "1")
    return shell.start("watch", "--cluster", str(shell.profile), *options)


@pytest.mark.parametrize("partition", ["gpu", "warned", "cancelled"])
def test_a_preempted_run_goes_on_at_the_step_where_it_was(shell: Shell, cluster: Cluster, partition: str) -> None:
    """The partition's preempted jobs are queued again, told a minute before, or cancelled."""
    shell.profile.write_text(PROFILE.replace('"gpu"', f'"{partition}"'))
    process = watch(shell, "long")
    wait_until("long trains", lambda: shell.is_under_way("long", 2))
    first_job = shell.starts("long")[0]["job"]
    preempt(cluster, node_of(cluster, first_job))
    wait_until("the preemption", lambda: shell.endings("long") == ["preempted"], 60)
    folder = shell.folder("long")
    trained = images_trained(folder)
    assert 2 * IMAGES <= trained < EPOCHS * IMAGES

    def ended() -> bool:
        release_held(cluster)
        return process.poll() is not None

    wait_until("the run's end", ended)
    out, err = process.communicate()
    assert (process.returncode, out.splitlines()[-1]) == (0, "1 run: 1 done"), err
    shell.drain()
    assert shell.endings("long") == ["preempted", "done"]
    first, second = shell.starts("long")
    said = [path.read_text() for path in shell.runs_dir.glob(f"slurm/*/{first_job}_0_log.out")]
    assert (first["job"] == second["job"]) == (partition != "cancelled"), said
    assert images_announced(folder)[-1] == EPOCHS * IMAGES - trained  # no step is done twice
    result = json.loads((folder / "result.json").read_text())
    assert (result["restarts"], result["epochs"]) == (1, EPOCHS)
    assert shell.grid("logs", "long").err.splitlines()[-2] == "2 starts: 1 preempted, 1 done"


def test_a_cancelled_part_of_the_grid_is_submitted_again(shell: Shell) -> None:
    assert shell.queue("long").err.splitlines()[0] == "1 run: 1 queued"
    wait_until("long trains", lambda: shell.is_under_way("long"))
    job = shell.starts("long")[0]["job"]
    shell.cluster.run("scancel", "--signal=USR2", job)
    wait_until("long is queued again", lambda: shell.states("long")["long"]["state"] == "queued", 60)
    assert shell.queue("long").err.splitlines()[0] == "1 run: 1 already queued or running"
    assert list(shell.endings("long")) == ["requeued"]
    assert shell.grid("cancel", "--only", "long").err == "1 job cancelled\n"
    wait_until("long has left the queue", lambda: shell.states("long")["long"]["state"] == "cancelled", 60)
    assert shell.queue("long").err.splitlines()[0] == "1 run: 1 queued"
    wait_until("long goes on", lambda: len(shell.endings("long")) == 2)
    assert shell.grid("cancel", "--only", "long").err == "1 job cancelled\n"
    wait_until("it is told", lambda: shell.endings("long")[-1] == "cancelled", 60)


def test_a_run_that_is_killed_each_time_is_stopped_with_the_end_of_its_log(shell: Shell) -> None:
    """As an exhausted memory kills it, before its first checkpoint."""
    shell.profile.write_text(f"max_tries = 2\n{PROFILE}")
    process = watch(shell, "long")
    killed: set[int] = set()
    for _ in range(2):
        wait_until("it trains", lambda: shell.is_under_way("long", 0) and shell.status("long")["pid"] not in killed)
        pid = int(shell.status("long")["pid"])
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "failed long: killed by SIGKILL (out of memory?)" in err
    starts = shell.starts("long")
    assert [(start["ending"], start["given_up"]) for start in starts] == [("failed", False), ("failed", True)]
    assert shell.queue("long").err.splitlines()[0] == "1 run: 1 queued"  # by a person, who has seen it


def test_a_controller_that_restarts_without_accounting(shell: Shell) -> None:
    cluster = shell.cluster
    assert shell.queue("good_alone").err.splitlines()[0] == "1 run: 1 queued"
    wait_until("it runs", lambda: shell.states("good_alone")["good_alone"]["state"] == "running")
    cluster.restart_controller(has_accounting=False)
    try:
        assert "disabled" in cluster.run("sacct", check=False, words=True)
        wait_until("it is done", lambda: shell.states("good_alone")["good_alone"]["state"] == "done")
        shell.drain()
        assert shell.queue("good_alone").err.splitlines()[0] == "1 run: 1 skipped"
    finally:
        cluster.restart_controller(has_accounting=True)


def test_a_watch_outlives_the_controller(shell: Shell) -> None:
    shell.profile.write_text(f"{PROFILE}[sbatch]\nhold = true\n")
    process = watch(shell, "bad")
    wait_until("the queue has them", lambda: set(states(shell).values()) == {"queued"})
    shell.cluster.stop_daemon("slurmctld")
    try:
        done = shell.grid("status", "--only", "bad", "--json")
        assert done.status == 0
        assert "states come from the run folders alone" in done.err
        assert {run["state"] for run in json.loads(done.out)["runs"]} == {"absent"}
        refused = shell.queue("bad")
        assert refused.status == 2
        assert refused.err.splitlines()[-1].startswith("error: squeue: ")
    finally:
        shell.cluster.start_controller()
    assert process.poll() is None
    assert shell.queue("bad").err.splitlines()[0] == "3 runs: 3 already queued or running"
    process.kill()
    assert "asking again in 1 s" in process.communicate()[1]
    assert shell.grid("cancel").err == "3 jobs cancelled\n"


def states(shell: Shell) -> dict[str, Any]:
    return {name: run["state"] for name, run in shell.states("bad").items()}
