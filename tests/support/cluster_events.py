"""Disturb jobs on a cluster: preempt them, crash their node, wait for what follows."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

from cluster import Cluster, kill_jobs


def node_of(cluster: Cluster, job: str) -> str:
    """First node that a job runs on."""
    nodes = cluster.run("squeue", "-h", "-j", job, "-o", "%N").split()
    names = cluster.run("scontrol", "show", "hostnames", nodes[0]).split()
    return names[0]


def crash(cluster: Cluster, node: str) -> None:
    """Kill a node's slurmd and all that its jobs run, as a power cut does."""
    cluster.stop_daemon(f"slurmd.{node}", signal.SIGKILL)
    assert kill_jobs(cluster.conf, node) > 0, f"no job ran on {node}"


def release_held(cluster: Cluster) -> None:
    """Let jobs that were queued again start at once: SLURM holds them for two minutes."""
    for line in cluster.run("squeue", "-h", "--array", "-t", "PD", "-o", "%i %r", check=False).splitlines():
        job, _, reason = line.partition(" ")
        if reason == "BeginTime":
            cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)


def preempt(cluster: Cluster, node: str) -> None:
    """Take a node for a job of a partition that goes before all others, for a moment."""
    options = ["--partition=urgent", f"--nodelist={node}", "--gpus-per-node=2", "--output=/dev/null", "--time=1"]
    cluster.run("sbatch", *options, "--wrap=sleep 1")


def wait_until(what: str, ready: Callable[[], bool], timeout_s: float = 240.0) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for: {what}"
        time.sleep(0.05)


@contextlib.contextmanager
def paused(pid: int) -> Iterator[None]:
    """A process that stands still meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
