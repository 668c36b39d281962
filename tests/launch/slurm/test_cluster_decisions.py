"""A real SLURM's queue: what a person decided lasts, and jobs that never begin say why."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_events import wait_until
from shell import PROFILE, TINY, Shell

from launch.executors.slurm.queue import NOT_THERE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HELD = f"{PROFILE}[sbatch]\nhold = true\n"


def test_a_watch_does_not_queue_again_what_a_person_cancelled(shell: Shell) -> None:
    shell.profile.write_text(HELD)
    options = ("--allow-dirty", "--only", "good_first", "--interval-s", "1")
    watch = shell.start("watch", "--cluster", str(shell.profile), *options)
    wait_until("both are queued", lambda: {run["state"] for run in shell.states("good_first").values()} == {"queued"})
    assert shell.grid("cancel", "--only", "good_pretrain").err == "2 jobs cancelled\n"
    out, err = watch.communicate(timeout=60)
    assert (watch.returncode, out.splitlines()[-1]) == (1, "2 runs: 2 cancelled"), err
    assert shell.cluster.run("squeue", "-h") == ""
    options = ("--cluster", str(shell.profile), "--allow-dirty", "--only", "good_first")
    refused = shell.grid("retry", *options).err
    assert refused.endswith("has failed; --cancelled takes its 2 cancelled runs\n")
    assert shell.grid("retry", "--cancelled", *options).err.splitlines()[0] == "2 runs: 2 queued"
    assert shell.grid("cancel", "--all").err == "2 jobs cancelled\n"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ('setup = ["true", "cd /nowhere", "true"]', "error: a setup line of the profile failed: cd /nowhere"),
        ('python = "/nowhere/python"', "execve(): /nowhere/python: No such file or directory"),
    ],
)
def test_a_job_that_never_begins_says_why(shell: Shell, key: str, words: str) -> None:
    text = "\n".join(line for line in PROFILE.splitlines() if not line.startswith("setup"))
    shell.profile.write_text(f"{text}\n{key}\n")
    assert shell.queue("good_alone").status == 0
    wait_until("it has failed", lambda: shell.states("good_alone")["good_alone"]["state"] == "failed", 60)
    assert words in shell.states("good_alone")["good_alone"]["error"]


def test_status_says_who_can_change_what_a_job_waits_for(shell: Shell) -> None:
    shell.cluster.run("scontrol", "update", "NodeName=n4", "State=DRAIN", "Reason=repair")
    try:
        shell.profile.write_text(f'{PROFILE}[sbatch]\nnodelist = "n4"\n')
        shell.queue("good_alone")
        shell.profile.write_text(HELD)
        shell.queue("long")

        wait_until("both wait", lambda: {run["state"] for run in shell.states("long").values()} == {"queued"}, 60)
        words = " ".join(shell.grid("status").out.split())
        assert NOT_THERE in words and "JobHeldUser; it is held: scontrol release starts it" in words
        assert "ReqNodeNotAvail" in words or "Nodes required for" in words, words
        assert shell.grid("cancel").err == "2 jobs cancelled\n"
    finally:
        shell.cluster.run("scontrol", "update", "NodeName=n4", "State=RESUME")


def test_a_job_whose_folder_its_node_does_not_see_is_told_by_slurm(shell: Shell) -> None:
    shell.profile.write_text(HELD)
    shell.queue("good_alone")
    (folder,) = (path for path in (shell.runs_dir / "slurm").glob("cxr-*") if path.is_dir())
    shutil.rmtree(folder)
    job = shell.states("good_alone")["good_alone"]["job"]
    shell.cluster.run("scontrol", "release", job)
    wait_until("it has failed", lambda: shell.states("good_alone")["good_alone"]["state"] == "failed", 60)
    error = shell.states("good_alone")["good_alone"]["error"]
    assert error.startswith(f"job {job} did not start it: SLURM recorded FAILED, exit code ")
    assert error.endswith(f"and it left no log; do the nodes see {shell.runs_dir}?")
    logs = shell.grid("logs", "good_alone")
    assert (logs.status, error in logs.err) == (2, True)


def test_runs_of_a_grid_before_it_was_edited_are_listed_and_cancelled(shell: Shell, tmp_path: Path) -> None:
    shell.profile.write_text(HELD)
    assert shell.queue("bad").err.splitlines()[0] == "3 runs: 3 queued"
    edited = tmp_path / "edited.py"
    edited.write_text(Path(TINY).read_text().replace("9999", "8888"))
    later = replace(shell, grid_file=str(edited))
    done = later.grid("status", "--only", "bad")
    assert done.out.splitlines()[-1].startswith("3 runs: 3 absent")
    assert "warning: the queue also holds 3 runs of another grid, or of this one before it was edited: " in done.err
    others = json.loads(later.grid("status", "--json").out)["others"]
    assert {(run["state"], run["id"]) for run in others} == {
        ("queued", shell.folder(name).name) for name in ("bad", "bad_child", "bad_grandchild")
    }
    shell.profile.write_text(f"max_tries = 2\n{HELD}")
    again = shell.queue("bad").err
    assert "warning: 3 runs queued with another profile before; cxr grid cancel, then submit, gives" in again
    assert later.grid("cancel").err == "0 jobs cancelled\n"
    assert later.grid("cancel", "--all").err == "3 jobs cancelled\n"
    shell.drain()
    assert {run["state"] for run in shell.states("bad").values()} == {"cancelled"}
