"""PBS's commands in earnest: SLURM's own qsub, qstat and qdel, of Debian's slurm-wlm-torque, on the test's SLURM."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from cluster import Cluster
from cluster_events import release_held, wait_until
from queue_site import Site, stand_in_command

from launch.executors.prepare import TrainCommand

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PROFILE = """\
queue = "gpu"
resources = "nodes=1:ppn=1"
qsub = ["-V"]
"""


@pytest.fixture
def site(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Site:
    if shutil.which("qsub") is None and os.environ.get("CXR_REQUIRE_SLURM") != "1":
        pytest.skip("no qsub: apt-get install --no-install-recommends slurm-wlm-torque")
    monkeypatch.setattr(TrainCommand, "__call__", stand_in_command)
    return Site("pbs", tmp_path, capsys, PROFILE)


def test_a_grid_waits_in_order_is_requeued_and_cancelled(site: Site, cluster: Cluster) -> None:
    site.profile.write_text(site.profile.read_text().replace('["-V"]', '["-V", "-h"]'))
    assert site.grid("submit")[1].splitlines()[0] == "4 runs: 4 queued"
    assert site.grid("submit")[1].splitlines()[0] == "4 runs: 4 already queued or running"
    jobs, listed = site.jobs(), cluster.run("squeue", "-h", "-o", "%i %E").splitlines()
    waits = dict(line.split(" ", 1) for line in listed)
    assert waits.keys() == set(jobs.values())
    assert f"afterok:{jobs['first']}" in waits[jobs["second"]]
    assert {run["state"] for run in site.states().values()} == {"queued"}
    assert site.grid("cancel", "--only", "bad")[1] == "2 jobs cancelled\n"
    wait_until("they left the queue", lambda: site.states()["child"]["state"] == "cancelled", 60)
    cluster.run("scontrol", "release", *jobs.values(), check=False)
    site.wait_for_first()
    cluster.run("scontrol", "requeue", jobs["first"])  # as PBS requeues a preempted job

    def is_done(states: dict[str, str]) -> bool:
        release_held(cluster)
        return states["second"] == "done"

    site.wait_until(is_done)
    assert {name: run["state"] for name, run in site.states().items()} == {
        "first": "done",
        "second": "done",
        "bad": "cancelled",
        "child": "cancelled",
    }
    assert site.starts() == {"first": 1, "second": 1}
    assert site.grid("logs", "first")[1].splitlines()[0].endswith(": requeued")
