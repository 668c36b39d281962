"""The grid in a real SLURM's queue: nothing queued twice, failures with reasons, clear errors."""

from __future__ import annotations

import json

import pytest
from cluster_events import wait_until
from shell import PROFILE, Shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
GOOD = {"good_pretrain", "good_first", "good_second", "good_third", "good_alone"}


def test_two_submits_at_once_queue_nothing_twice(shell: Shell) -> None:
    shell.profile.write_text(f"{PROFILE}[sbatch]\nhold = true\n")
    submit = ("submit", "--cluster", str(shell.profile), "--allow-dirty", "--only", "good")
    shells = [shell.start(*submit) for _ in range(2)]
    ends = [(*process.communicate(timeout=120), process.returncode) for process in shells]
    assert [status for *_, status in ends] == [0, 0]
    assert {err.splitlines()[0] for _, err, _ in ends} == {
        "5 runs: 5 queued",
        "5 runs: 5 already queued or running",
    }
    submissions = [json.loads(path.read_text()) for path in (shell.runs_dir / "slurm").glob("cxr-*.json")]
    queued = [run_id for submission in submissions for task in submission["tasks"] for run_id in task]
    assert len(queued) == len(set(queued)) == 5
    assert len(submissions) == 3  # one sbatch call for each level of needs
    assert len(shell.cluster.run("squeue", "-h", "--array").splitlines()) == 5
    assert shell.grid("cancel", "--only", "good_first").err == "2 jobs cancelled\n"  # and good_third, which needs it
    cancelled = ("good_first", "good_third")
    wait_until("they left the queue", lambda: {states_of(shell)[name] for name in cancelled} == {"cancelled"}, 60)
    assert shell.queue("good").err.splitlines()[0] == "5 runs: 2 queued, 3 already queued or running"
    assert {state["state"] for state in shell.states("good").values()} == {"queued"}
    assert shell.grid("cancel").err == "5 jobs cancelled\n"


def states_of(shell: Shell) -> dict[str, str]:
    return {name: state["state"] for name, state in shell.states("good").items()}


def test_a_failed_need_fails_its_dependants_with_a_reason(shell: Shell) -> None:
    assert shell.queue("bad").err.splitlines()[0] == "3 runs: 3 queued"
    shell.wait("bad", lambda states: all(state["state"] == "failed" for state in states.values()), 90)
    errors = {name: state["error"] for name, state in shell.states("bad").items()}
    assert "9999" in errors.pop("bad")
    assert errors == {"bad_child": "needs bad, which failed", "bad_grandchild": "needs bad_child, which failed"}
    shell.drain()
    logs = shell.grid("logs", "bad")
    assert "9999" in logs.out.splitlines()[-1]
    assert "restart 0" in logs.err
    done = shell.grid("retry", "--cluster", str(shell.profile), "--allow-dirty")
    assert done.err.splitlines()[0] == "3 runs: 3 queued"
    assert shell.grid("cancel").err == "3 jobs cancelled\n"


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (('"gpu"', '"nope"'), 2, "error: sbatch refused the jobs: invalid partition specified: nope"),
        (
            ("gpus_per_run = 1", "gpus_per_run = 3"),
            2,
            "asks for 1 node with 3 cores and 3 GPUs; of the partition's 4",
        ),
        (("cpus_per_task = 1", "cpus_per_task = 500"), 2, "500 cores and 1 GPU; of the partition's 4 nodes 0 are so"),
        (("time_min", "mem_gb = 9000\ntime_min"), 2, "1 node with 9000 GB, 1 core and 1 GPU; of the partition's 4"),
        (("gpus_per_run = 1", "nodes = 40\ngpus_per_run = 40"), 2, "asks for 40 nodes with 1 core and 1 GPU; of "),
        (("time_min", "time_mim"), 2, "key 'time_mim' is unknown; did you mean time_min?"),
    ],
)
def test_a_wrong_profile_is_one_clear_error(shell: Shell, change: tuple[str, str], status: int, message: str) -> None:
    shell.profile.write_text(PROFILE.replace(*change))
    done = shell.queue("good")
    assert done.status == status
    assert len(done.err.splitlines()) == 1
    assert message in done.err
    assert list((shell.runs_dir / "slurm").glob("cxr-*")) == []
    assert shell.cluster.run("squeue", "-h") == ""
