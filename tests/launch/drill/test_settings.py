"""What settings prevent, and which line of the profile mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.doctor.finding import warn
from launch.drill.settings import check_site, line_of, merged, no_requeue, symptom_of
from launch.executors.slurm.profile import ClusterConfig, load_profile
from launch.executors.slurm.queue import NEVER_STARTS

PROFILE = 'partition = "gpu"\n\nsetup = ["module load cuda"]\nmax_tries = 1\n[sbatch]\nmail-type = "FAIL"\n'


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "p.toml"
    path.write_text(PROFILE)
    return path


def test_the_line_of_a_key(profile: Path) -> None:
    assert line_of(profile, "setup") == f'{profile}:3: setup = ["module load cuda"]'
    assert line_of(profile, "mail-type") == f'{profile}:6: mail-type = "FAIL"'
    assert line_of(profile, "type") == f"{profile} has no line type = ..."
    assert line_of(profile, "python") == f"{profile} has no line python = ..."


@pytest.mark.parametrize(
    ("words", "case", "area", "line"),
    [
        (
            "job 7_0 did not start it: error: a setup line of the profile failed: module load cuda",
            "killed",
            "setup",
            3,
        ),
        ("slurmstepd: error: execve(): /opt/python: No such file or directory", "killed", "python", None),
        ("ModuleNotFoundError: No module named 'torch'", "undisturbed", "python", None),
        ("job 7 did not start it: SLURM recorded FAILED; do the nodes see /home/x?", "undisturbed", "folder", None),
        ("device cuda: torch sees no GPU on this machine; use --device cpu or auto", "undisturbed", "gpu", None),
        ("the job sees 0 of the 2 GPUs that the cluster profile asks for", "undisturbed", "gpu", None),
        (
            "stopped after 0 restarts, the last for: requeued; see max_restarts in the profile",
            "requeued",
            "restarts",
            None,
        ),
        ("killed by SIGKILL (out of memory?): epoch 1", "killed", "tries", 4),
        ("killed by SIGKILL (out of memory?): epoch 1", "undisturbed", "memory", None),
        (f"PartitionConfig; {NEVER_STARTS}", "undisturbed", "queue", 1),
    ],
)
def test_failures_lead_to_the_line_that_mends_them(
    words: str, case: str, area: str, line: int | None, profile: Path
) -> None:
    finding = symptom_of(words, case, profile)
    assert finding is not None
    assert (finding.area, finding.level) == (area, "fail")
    assert finding.what == words.partition(" did not start it: ")[2] or finding.what == words
    if line is not None:
        assert finding.fix.startswith(f"{profile}:{line}: ")
    elif area != "folder":
        assert finding.fix.startswith(f"{profile} has no line ")


def test_a_failure_of_the_run_itself_is_about_no_setting(profile: Path) -> None:
    assert symptom_of("ValueError: bad images", "killed", profile) is None


def test_a_profile_that_has_jobs_leave_the_queue_is_named(profile: Path) -> None:
    refusal = "scontrol: Requested operation is presently disabled for job 7"
    of_site = no_requeue(refusal, ClusterConfig(), profile)
    assert (of_site.area, of_site.what) == ("requeue", "scontrol: Requested operation is presently disabled")
    assert of_site.fix.startswith("the site forbids it, and no line of the profile allows it; cxr grid watch")
    profile.write_text(f"{PROFILE}no-requeue = true\n")
    own = no_requeue(refusal, load_profile(profile), profile)
    assert (own.area, own.level) == ("requeue", "warn")
    assert own.fix.startswith(f"{profile}:7: no-requeue = true; leave it out, else cxr grid watch")


def test_what_several_nodes_say_is_one_finding(profile: Path) -> None:
    said = [f"slurmstepd-n{node}: error: execve(): /opt/python: No such file or directory" for node in (3, 1, 3)]
    found = [symptom_of(words, "killed", profile) for words in said]
    of_site = warn("requeue", "refused", "submit again")
    one, other = merged([*filter(None, found), of_site, of_site])
    assert one.what == "on n1, n3: execve(): /opt/python: No such file or directory"
    assert other == of_site


def answers(folder: Path, monkeypatch: pytest.MonkeyPatch, *, mode: str, grace: int, parameters: str = "") -> None:
    """Put commands on the path that tell of one partition, and a sacct that is off."""
    folder.mkdir()
    config = (
        f"PreemptType             = preempt/partition_prio\nPreemptParameters       = {parameters}\nKillWait = 30 sec"
    )
    partition = f"PartitionName=gpu Default=YES PreemptMode={mode} GraceTime={grace}"
    scripts = {
        "scontrol": f'case "$2" in partition) echo "{partition}";; *) echo "{config}";; esac',
        "sacct": "echo 'Slurm accounting storage is disabled' >&2; exit 1",
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


NO_SIGNAL = "no signal before preemption in partition gpu: SIGTERM comes, and SIGKILL 30 sec later"


@pytest.mark.parametrize(
    ("mode", "grace", "parameters", "told"),
    [
        ("REQUEUE", 0, "", [NO_SIGNAL]),
        ("REQUEUE", 60, "", []),
        ("REQUEUE", 0, "send_user_signal", []),
        ("CANCEL", 60, "", ["partition gpu cancels preempted jobs, and queues them not again"]),
        ("SUSPEND", 0, "", ["partition gpu suspends preempted jobs"]),
        ("OFF", 0, "", []),
    ],
)
def test_what_a_site_does_to_preempted_jobs_and_to_accounts(
    mode: str,
    grace: int,
    parameters: str,
    told: list[str],
    profile: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers(tmp_path / "bin", monkeypatch, mode=mode, grace=grace, parameters=parameters)
    accounting, *preemption = check_site(ClusterConfig(partition="gpu"), profile)
    assert (accounting.area, accounting.level) == ("accounting", "warn")
    assert "Slurm accounting storage is disabled" in accounting.what
    assert [finding.what for finding in preemption] == told
    assert all(finding.level == "warn" for finding in preemption)
