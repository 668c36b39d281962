"""The grid on a real SLURM: results as on one machine, failures with reasons, nothing queued twice, clear errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shell import PROFILE, Shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
DONE = {"good_pretrain", "good_first", "good_second", "good_third", "good_alone"}


def results(shell: Shell, runs_dir: Path) -> dict[str, dict[str, Any]]:
    """What must not depend on where a run was computed, by name."""
    found = {}
    for name in DONE:
        result = json.loads((runs_dir / shell.folder(name).name / "result.json").read_text())
        found[name] = {key: result[key] for key in ("weights_hash", "test", "validation", "best_epoch")}
    return found


def test_two_submits_at_once_and_the_same_results_as_on_one_machine(shell: Shell, tmp_path: Path) -> None:
    submit = ("submit", "--cluster", str(shell.profile), "--allow-dirty", "--only", "good")
    shells = [shell.start(*submit) for _ in range(2)]
    ends = [(*process.communicate(timeout=120), process.returncode) for process in shells]
    assert [(status, err) for _, err, status in ends] == [(0, "5 runs: 5 queued\n")] * 2
    submissions = [json.loads(path.read_text()) for path in (shell.runs_dir / "slurm").glob("cxr-*.json")]
    queued = [run_id for submission in submissions for task in submission["tasks"] for run_id in task]
    assert len(queued) == len(set(queued)) == 5
    assert len(submissions) == 3  # one sbatch call for each level of needs
    shell.wait("good", lambda states: all(state["state"] in ("done", "failed") for state in states.values()))
    shell.drain()
    states = shell.states("good")
    assert {name: state["state"] for name, state in states.items()} == dict.fromkeys(DONE, "done")
    assert shell.queue("good").err == "5 runs: 5 skipped\n"
    local = Shell(shell.cluster, shell.data_dir, tmp_path / "local", shell.profile)
    done = local.grid("submit", "--only", "good", "--slots", "2", "--threads-per-run", "1", "--device", "cpu")
    assert done.status == 0, done.err
    assert results(shell, shell.runs_dir) == results(shell, local.runs_dir)
    folder = shell.folder("good_third")
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["slurm"]["SLURM_JOB_PARTITION"] == "gpu"
    (start,) = json.loads((folder / "attempts.json").read_text())
    assert (start["job"], start["ending"]) == (states["good_third"]["job"], "done")


def test_a_failed_need_fails_its_dependants_with_a_reason(shell: Shell) -> None:
    assert shell.queue("bad").err == "3 runs: 3 queued\n"
    shell.wait("bad", lambda states: all(state["state"] == "failed" for state in states.values()), 90)
    errors = {name: state["error"] for name, state in shell.states("bad").items()}
    assert "9999" in errors.pop("bad")
    assert errors == {"bad_child": "needs bad, which failed", "bad_grandchild": "needs bad_child, which failed"}
    shell.drain()
    logs = shell.grid("logs", "bad")
    assert "9999" in logs.out.splitlines()[-1]
    assert "restart 0" in logs.err
    done = shell.grid("retry", "--cluster", str(shell.profile), "--allow-dirty")
    assert done.err == "3 runs: 3 queued\n"
    assert shell.grid("cancel").err == "3 jobs cancelled\n"


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (('"gpu"', '"nope"'), 2, "error: sbatch refused the jobs: invalid partition specified: nope"),
        (("gpus_per_run = 1", "gpus_per_run = 3"), 2, "error: sbatch refused the jobs: "),
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
