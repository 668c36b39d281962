"""The scene: a grid of 21 runs goes through requeue, scancel, a node's crash, a time limit and a new controller."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from cluster import NUM_NODES, Cluster
from cluster_events import crash, node_of, paused, release_held, wait_until
from scene_grid import grid
from shell import PROFILE, SCENE, Shell
from undisturbed import results

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NAMES = [run.name for run in grid().runs]
WIDE = PROFILE.replace("gpus_per_run = 1", "gpus_per_run = 2\nnodes = 2")
APART = "n4"
"""Node of the run that meets its time limit, on which no victim runs: the crash of one shall not take it along."""
LIMITED = f'{PROFILE}signal_delay_s = 45\n[sbatch]\nnodelist = "{APART}"\n'
NARROW = PROFILE + f'exclude = "{APART}"\n'
AGAIN = ("--interval-s", "1", "--allow-dirty")


@pytest.fixture
def scene(shell: Shell) -> Shell:
    return replace(shell, grid_file=SCENE)


def profile(scene: Shell, name: str, text: str) -> str:
    path = scene.profile.with_name(name)
    path.write_text(text)
    return str(path)


def watch(scene: Shell, only: str, cluster_profile: str) -> subprocess.Popen[str]:
    return scene.start("watch", "--cluster", cluster_profile, "--only", only, *AGAIN)


def is_queued(scene: Shell, name: str) -> bool:
    submissions = [json.loads(path.read_text()) for path in (scene.runs_dir / "slurm").glob("cxr-*.json")]
    run_id = scene.folder(name).name
    return any(run_id in task for submission in submissions if submission["job"] for task in submission["tasks"])


def job_of(scene: Shell, name: str) -> str:
    job: str = scene.starts(name)[-1]["job"]
    return job


def set_time_limit(cluster: Cluster, job: str, minutes: int) -> None:
    cluster.run("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")


def let_it_reach_its_limit(scene: Shell, cluster: Cluster) -> None:
    """Bring the time limit of a run that trains near, so that it is warned, and let it have its time afterwards.

    The limit comes to the run: under a short one from the start, a slow machine's run would not get to its first
    checkpoint, however often it is queued again.
    """
    wait_until("limit trains", lambda: scene.is_under_way("limit"))
    job = job_of(scene, "limit")
    with paused(int(scene.status("limit")["pid"])):
        minutes = int(cluster.run("squeue", "-h", "-j", job, "-o", "%M").split(":")[-2])
        set_time_limit(cluster, job, minutes + 2)
        wait_until("the warning", lambda: scene.starts("limit")[0]["told"] == "time limit", 200)
        set_time_limit(cluster, job, 30)
    wait_until("it is written down", lambda: scene.endings("limit")[:1] == ["time limit"])


def disturb(scene: Shell, cluster: Cluster) -> None:
    """Strike each victim as soon as it has trained an epoch, in whatever order that is."""

    def requeue(job: str) -> None:
        cluster.run("scontrol", "requeue", job)
        cluster.restart_controller(has_accounting=True)

    def cancel(job: str) -> None:
        cluster.run("scancel", job)

    def lose_node(job: str) -> None:
        node = node_of(cluster, job)
        crash(cluster, node)
        cluster.start_node(node)

    strikes = {"narrow_requeued": requeue, "narrow_cancelled": cancel, "narrow_crashed": lose_node}

    def all_struck() -> bool:
        for name in [name for name in strikes if scene.is_under_way(name)]:
            strikes.pop(name)(job_of(scene, name))
        release_held(cluster)
        return not strikes

    wait_until("every victim trains", all_struck, 400)


def everything_ends(scene: Shell, cluster: Cluster, watches: list[subprocess.Popen[str]]) -> None:
    def ended() -> bool:
        release_held(cluster)
        return all((scene.folder(name) / "result.json").exists() for name in NAMES) or any(
            process.poll() not in (None, 0) for process in watches
        )

    wait_until("all runs", ended, 500)
    for process in watches:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, (out, err)
    scene.drain()


def test_a_disturbed_grid_ends_with_the_results_of_an_undisturbed_one(
    scene: Shell, cluster: Cluster, undisturbed: Future[dict[str, Any]]
) -> None:
    assert len(NAMES) == 21
    limited, wide = profile(scene, "limited.toml", LIMITED), profile(scene, "wide.toml", WIDE)
    watches = [watch(scene, "limit", limited), watch(scene, "narrow", profile(scene, "narrow.toml", NARROW))]
    try:
        wait_until("narrow runs in the queue", lambda: is_queued(scene, "narrow_later_1"))
        watches.append(watch(scene, "wide", wide))
        with ThreadPoolExecutor(1) as pool:
            limit = pool.submit(let_it_reach_its_limit, scene, cluster)
            disturb(scene, cluster)
            limit.result()
        everything_ends(scene, cluster, watches)
    finally:
        for process in watches:
            process.kill()
    assert results(SCENE, scene.runs_dir) == undisturbed.result(600)
    assert scene.endings("limit") == ["time limit", "done"]
    for name, strike in (("requeued", "requeued"), ("cancelled", "cancelled"), ("crashed", "killed")):
        endings = scene.endings(f"narrow_{name}")
        assert strike in endings and endings[-1] == "done"  # the node that crashes may run another victim, too
    told = {ending for name in NAMES for ending in scene.endings(name)}
    assert told <= {"time limit", "requeued", "cancelled", "killed", "failed", "done"}
    for name in ("wide_rung0_beta1", "wide_rung0_beta100", "wide_rung1_rank0"):
        provenance = json.loads((scene.folder(name) / "provenance.json").read_text())
        assert (provenance["world_size"], len(provenance["devices"])) == (2, 2)
    assert cluster.node_states() == ["idle"] * NUM_NODES
