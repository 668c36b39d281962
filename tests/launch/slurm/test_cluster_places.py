"""Places of a profile on a real SLURM: one partition for each run, limits and nice values as it has them."""

from __future__ import annotations

import json

import pytest
from cluster_events import wait_until
from shell import PROFILE, Shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PLACES = f"""{PROFILE}max_nice = 40
sbatch = {{ hold = true }}

[[place]]
when = "name in ['good_pretrain', 'good_alone']"
partition = "warned"
max_running = 1

[[place]]
when = "name == 'good_third'"
partition = "warned"
max_running = 1
"""


def records(shell: Shell) -> dict[str, tuple[str, str, str, str]]:
    """By run name: job, partition, nice value and dependency in the controller's words, of what is in the queue."""
    jobs = {state["job"]: name for name, state in shell.states("good").items()}
    lines = shell.cluster.run("squeue", "-h", "--array", "-o", "%i|%P|%y|%E").splitlines()
    rows = [line.split("|") for line in lines]
    return {jobs[job]: (job, partition, nice, waits) for job, partition, nice, waits in rows}


def array_of(job: str) -> str:
    return job.partition("_")[0]


def test_runs_are_queued_at_their_places_in_the_order_of_the_longest_chain(shell: Shell) -> None:
    shell.profile.write_text(PLACES)
    assert shell.queue("good").err.splitlines()[0] == "5 runs: 5 queued"
    queued = records(shell)
    assert {name: row[1] for name, row in queued.items()} == {
        **dict.fromkeys(("good_pretrain", "good_alone", "good_third"), "warned"),
        **dict.fromkeys(("good_first", "good_second"), "gpu"),
    }
    nice = {name: int(row[2]) for name, row in queued.items()}  # chains of 3, 2 and 1 equal runs; ten steps
    assert nice == {"good_pretrain": 0, "good_first": 12, "good_second": 28, "good_third": 28, "good_alone": 28}
    job = {name: row[0] for name, row in queued.items()}
    waits = {name: {part.partition("(")[0] for part in row[3].split(",")} for name, row in queued.items()}
    assert waits["good_first"] == waits["good_second"] == {f"afterok:{job['good_pretrain']}"}
    assert waits["good_third"] == {f"afterok:{job['good_first']}", f"afterany:{array_of(job['good_pretrain'])}_*"}
    assert "ArrayTaskThrottle=1 " in shell.cluster.run("scontrol", "show", "job", job["good_alone"])

    # An edited place concerns what is submitted later.
    assert shell.grid("cancel", "--only", "good_alone").err == "1 job cancelled\n"
    wait_until("it left the queue", lambda: shell.states("good_alone")["good_alone"]["state"] == "cancelled", 60)
    shell.profile.write_text(PLACES.replace("max_running = 1\n\n", "max_running = 1\ntime_min = 20\n\n"))
    options = ("--cluster", str(shell.profile), "--allow-dirty", "--only", "good")
    again = shell.grid("submit", *options).err
    assert "5 runs: 1 queued, 4 already queued or running" in again
    assert "warning: 1 run queued with another profile before; cxr grid cancel, then submit, gives this one" in again
    later = records(shell)
    alone, _, _, waits_for = later["good_alone"]
    before = {f"afterany:{array_of(job['good_pretrain'])}_*", f"afterany:{job['good_third']}"}
    assert {part.partition("(")[0] for part in waits_for.split(",")} == before
    limits = {name: shell.cluster.run("squeue", "-h", "-j", later[name][0], "-o", "%l").strip() for name in later}
    assert limits == {**dict.fromkeys(later, "30:00"), "good_alone": "20:00"}
    assert {name: row[0] for name, row in later.items() if name != "good_alone"} == {
        name: number for name, number in job.items() if name != "good_alone"
    }

    # The others run, each in its partition, once what they need is done; and one that was cancelled is queued again.
    shell.cluster.run("scancel", job["good_first"], job["good_third"], alone)
    shell.cluster.run("scontrol", "release", f"{job['good_pretrain']},{job['good_second']}")
    shell.wait("good_second", lambda states: {state["state"] for state in states.values()} == {"done"}, 120)
    partitions = {
        name: json.loads((shell.folder(name) / "provenance.json").read_text())["slurm"]["SLURM_JOB_PARTITION"]
        for name in ("good_pretrain", "good_second")
    }
    assert partitions == {"good_pretrain": "warned", "good_second": "gpu"}
    starts = [shell.starts(name) for name in ("good_pretrain", "good_second")]
    assert [len(one) for one in starts] == [1, 1] and starts[0][0]["ended"] <= starts[1][0]["started"]
