"""Runs that a real SLURM stops: warned and queued again, cancelled and submitted again, over two nodes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from shell import PROFILE, Shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def status_of(folder: Path) -> dict[str, Any]:
    path = folder / "status.json"
    return json.loads(path.read_text()) if path.exists() else {}


def wait_for_epoch(shell: Shell, folder: Path, epoch: int) -> None:
    deadline = time.monotonic() + 120
    while not (status_of(folder).get("state") == "running" and status_of(folder)["epoch"] >= epoch):
        assert time.monotonic() < deadline, (status_of(folder), shell.cluster.run("squeue"))
        time.sleep(0.2)


def test_a_stopped_run_goes_on_where_it_was(shell: Shell) -> None:
    assert shell.queue("long").err == "1 run: 1 queued\n"
    folder = shell.folder("long")
    wait_for_epoch(shell, folder, 2)
    job = shell.states("long")["long"]["job"]
    shell.cluster.run("scancel", "--signal=USR2", job)
    shell.wait("long", lambda states: states["long"]["state"] == "queued", 60)
    reached = status_of(folder)["epoch"]
    assert shell.queue("long").err == "1 run: 1 queued\n"
    shell.cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    wait_for_epoch(shell, folder, reached + 1)
    assert shell.grid("cancel", "--only", "long").err == "1 job cancelled\n"
    shell.wait("long", lambda states: states["long"]["state"] == "partial", 60)
    watch = ("watch", "--cluster", str(shell.profile), "--allow-dirty", "--only", "long", "--interval-s", "2")
    watched = shell.grid(*watch)
    assert (watched.status, watched.err) == (0, "1 run: 1 queued\n")
    assert watched.out.splitlines()[-1] == "1 run: 1 done"
    shell.drain()
    starts = json.loads((folder / "attempts.json").read_text())
    assert [start["ending"] for start in starts] == ["preempted", "terminated", "done"]
    assert [start["restart"] for start in starts] == [0, 1, 0]
    assert json.loads((folder / "result.json").read_text())["restarts"] == 2
    epochs = [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert epochs == list(range(24))


def test_one_run_over_two_nodes(shell: Shell) -> None:
    shell.profile.write_text(PROFILE.replace("gpus_per_run = 1", "gpus_per_run = 2\nnodes = 2"))
    assert shell.queue("wide").err == "1 run: 1 queued\n"
    shell.wait("wide", lambda states: states["wide"]["state"] in ("done", "failed"))
    folder = shell.folder("wide")
    assert json.loads((folder / "result.json").read_text())["world_size"] == 2
    assert len(json.loads((folder / "provenance.json").read_text())["devices"]) == 2
    assert (folder / "ranks" / "1" / "log.txt").exists()


def test_a_controller_that_restarts_without_accounting(shell: Shell) -> None:
    cluster = shell.cluster
    assert shell.queue("good_alone").err == "1 run: 1 queued\n"
    shell.wait("good_alone", lambda states: states["good_alone"]["state"] == "running", 60)
    cluster.restart_controller(has_accounting=False)
    try:
        assert "disabled" in cluster.run("sacct", check=False, words=True)
        shell.wait("good_alone", lambda states: states["good_alone"]["state"] == "done")
        shell.drain()
        assert shell.queue("good_alone").err == "1 run: 1 skipped\n"
    finally:
        cluster.restart_controller(has_accounting=True)


def test_status_without_a_controller(shell: Shell) -> None:
    shell.profile.write_text(f"{PROFILE}[sbatch]\nhold = true\n")
    assert shell.queue("bad").err == "3 runs: 3 queued\n"
    assert {run["state"] for run in shell.states("bad").values()} == {"queued"}
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
    assert shell.queue("bad").err == "3 runs: 3 queued\n"
    assert shell.grid("cancel").err == "3 jobs cancelled\n"
