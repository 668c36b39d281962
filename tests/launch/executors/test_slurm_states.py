"""Submissions, squeue's lines and run folders put together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from grid_stand_in import small_runs, write_status

from launch.executors.base import UnreachableError
from launch.executors.slurm.queue import NEVER_STARTS, NOT_THERE, QueuedJob, parse_job
from launch.executors.slurm.states import QueueView
from launch.executors.slurm.submission import (
    Submission,
    new_submission,
    places,
    read_submissions,
)
from launch.plan.decide import decide
from launch.plan.run_state import RunState

RUNS = small_runs()
IDS = {name: run.run_id for name, run in RUNS.items()}


def submission(name: str, *tasks: tuple[str, ...], job: str | None = "7", submitted: float = 1.0) -> Submission:
    ids = tuple(tuple(IDS[run] for run in task) for task in tasks)
    return Submission(name=name, submitted=submitted, tasks=ids, job=job)


def queued(job: str, state: str = "PENDING", reason: str = "Dependency", name: str = "cxr-x-1") -> QueuedJob:
    return QueuedJob(job=job, name=name, state=state, reason=reason, node="")


def merge(
    tmp_path: Path, found: dict[str, RunState], made: Submission, *jobs: QueuedJob, cancelled: Iterable[str] = ()
) -> dict[str, RunState]:
    view = QueueView(
        folder=tmp_path / "slurm",
        jobs={job.job: job for job in jobs},
        places=places([made], {}),
        cancelled={IDS[name] for name in cancelled},
    )
    merged = view.corrected(list(RUNS.values()), {IDS[name]: state for name, state in found.items()})
    return {name: merged[run_id] for name, run_id in IDS.items() if run_id in merged}


def test_lines_of_squeue() -> None:
    assert parse_job("12_3|PENDING||Dependency|cxr-demo-1") == queued("12_3", name="cxr-demo-1")
    assert parse_job("12|RUNNING|n1|None|a|b") == QueuedJob(
        job="12", name="a|b", state="RUNNING", reason="None", node="n1"
    )
    assert parse_job("slurm_load_jobs error") is None
    assert parse_job("") is None


def test_submissions_are_read_back_oldest_first(tmp_path: Path) -> None:
    later = submission("cxr-x-1", ("a", "b"), ("c",), submitted=2.0)
    earlier = submission("cxr-x-2", ("a",), job=None)
    for made in (later, earlier):
        made.write(tmp_path / "slurm" / f"{made.name}.json")
    assert read_submissions(tmp_path / "slurm") == [earlier, later]
    assert {run_id: place.job for run_id, place in places([earlier, later], {}).items()} == {
        IDS["a"]: "7_0",
        IDS["b"]: "7_0",
        IDS["c"]: "7_1",
    }
    assert places([earlier], {}) == {}
    assert places([earlier], {"cxr-x-2": "9"})[IDS["a"]].job == "9"
    for text in ("[]", "", '{"name": '):
        (tmp_path / "slurm" / "cxr-x-3.json").write_text(text)
        with pytest.raises(UnreachableError, match=r"cxr-x-3\.json: not a submission; once squeue shows no job of"):
            read_submissions(tmp_path / "slurm")


def test_arrays_that_a_limit_holds_together_are_those_still_in_the_queue(tmp_path: Path) -> None:
    limited = [replace(submission(f"cxr-x-{job}", ("a",), ("b",), job=job), throttled="gpu") for job in ("6", "7")]
    other = submission("cxr-x-8", ("c",), job="8")
    jobs = {job.job: job for job in (queued("7_1"), queued("8"))}
    view = QueueView(folder=tmp_path, jobs=jobs, places=places([*limited, other], {}))
    assert view.throttled() == {"gpu": {"7"}}


def test_a_torn_list_of_cancelled_runs_is_named(tmp_path: Path) -> None:
    (tmp_path / "cancelled.json").write_text("")
    with pytest.raises(UnreachableError, match=r"cancelled\.json: not a list of runs; remove it, and cancel again"):
        QueueView.read(tmp_path)


def test_the_name_of_a_submission_is_fit_for_slurm() -> None:
    assert new_submission("/a b/my grid.py", 0.0, []).name.startswith("cxr-my_grid-")
    assert new_submission("demo", 0.0, []).name != new_submission("demo", 0.0, []).name


def test_the_queue_wins_over_folders_except_over_a_result(tmp_path: Path) -> None:
    made = submission("cxr-x-1", ("a",), ("b",), ("c",), ("d",))
    found = {
        "a": RunState(),
        "b": RunState(state="partial", epoch=1),
        "c": RunState(state="done"),
        "d": RunState(state="failed"),
    }
    jobs = (queued("7_0"), queued("7_1", "RUNNING"), queued("7_2", "COMPLETING"), queued("7_3", "COMPLETING"))
    merged = merge(tmp_path, found, made, *jobs)
    assert [merged[name].state for name in "abcd"] == ["queued", "running", "done", "failed"]
    assert (merged["a"].job, merged["a"].waits_for) == ("7_0", "Dependency")
    runs = [RUNS[name] for name in "abcd"]
    actions = {d.run.name: (d.action, d.reason) for d in decide(runs, {IDS[n]: f for n, f in merged.items()})}
    assert actions["a"] == ("wait", "queued as job 7_0 (Dependency)")
    assert actions["b"] == ("wait", "runs as job 7_1, 1 epochs")


@pytest.mark.parametrize("reason", ["PartitionConfig", "BadConstraints", "QOSMaxGRESPerJob", "MaxMemPerLimit"])
def test_a_job_that_can_never_start_is_told_from_one_that_waits(tmp_path: Path, reason: str) -> None:
    made = submission("cxr-x-1", ("a",), ("b",))
    merged = merge(tmp_path, {}, made, queued("7_0", reason=reason), queued("7_1", reason="QOSMaxJobsPerUserLimit"))
    assert merged["a"].waits_for == (
        f"{reason}; it never starts as the profile asks: cancel it, change the profile, submit again"
    )
    assert merged["b"].waits_for == "QOSMaxJobsPerUserLimit"


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("InvalidAccount", NEVER_STARTS),
        ("DependencyNeverSatisfied", NEVER_STARTS),
        ("JobHeldUser", "it is held: scontrol release starts it"),
        ("JobHeldAdmin", "an administrator holds it, and has to release it"),
        ("launch failed requeued held", "held after it failed to start; see its node, then scontrol release"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", NOT_THERE),
        ("PartitionDown", NOT_THERE),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", NOT_THERE),
    ],
)
def test_a_reason_that_does_not_pass_by_itself_comes_with_what_to_do(reason: str, advice: str) -> None:
    job = parse_job(f"12_3|PENDING||{reason}|cxr-demo-1")
    assert job is not None and job.waits_for == f"{reason}; {advice}"


def test_a_suspended_job_does_not_run(tmp_path: Path) -> None:
    made = submission("cxr-x-1", ("a",))
    state = merge(tmp_path, {"a": RunState(state="running", epoch=1)}, made, queued("7", "SUSPENDED"))["a"]
    assert (state.state, state.job, state.waits_for) == ("queued", "7", "suspended on ")


def test_a_cancelled_run_is_called_so_once_it_has_left_the_queue(tmp_path: Path) -> None:
    made = submission("cxr-x-1", ("a",), ("b",), ("c",), ("d",))
    found = {
        "a": RunState(),
        "b": RunState(state="running", host="n9", epoch=3),
        "c": RunState(state="done"),
        "d": RunState(),
    }
    merged = merge(tmp_path, found, made, queued("7_3"), cancelled="abcd")
    assert [merged[name].state for name in "abcd"] == ["cancelled", "cancelled", "done", "queued"]
    (decision,) = decide([RUNS["b"]], {IDS["b"]: merged["b"], IDS["teacher"]: RunState(state="done")})
    assert (decision.action, decision.reason) == ("run", "goes on after it was cancelled, 3 epochs")


def test_runs_of_an_edited_grid_are_told_apart(tmp_path: Path) -> None:
    made = submission("cxr-x-1", ("a",), ("b",), ("c",))
    view = QueueView(folder=tmp_path, jobs={"7_0": queued("7_0"), "7_1": queued("7_1")}, places=places([made], {}))
    merged = view.corrected([RUNS["b"]], {IDS["b"]: RunState()})
    assert {run_id: (state.state, state.job) for run_id, state in merged.items()} == {
        IDS["a"]: ("queued", "7_0"),
        IDS["b"]: ("queued", "7_1"),
    }


def test_what_left_the_queue(tmp_path: Path) -> None:
    made = submission("cxr-x-1", ("pretrain",), ("a",), ("d",), ("b",), ("c",))
    found = {
        "pretrain": RunState(state="failed", error="ValueError: x"),
        "a": RunState(),
        "d": RunState(),
        "b": RunState(state="running", host="n9", epoch=3),
        "c": RunState(state="running"),
    }
    merged = merge(tmp_path, found, made)
    assert merged["pretrain"].error == "ValueError: x"
    assert (merged["a"].state, merged["a"].error) == ("failed", "needs pretrain, which failed")
    assert (merged["d"].state, merged["d"].error) == ("failed", "needs a, which failed")
    assert (merged["b"].state, merged["b"].host) == ("partial", None)
    assert merged["c"].state == "running"  # a process of this host


def tell_accounting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Put an sacct first on the path that knows one job, and fails for all others."""
    asked = f"--jobs={line.partition('|')[0]}"
    (tmp_path / "sacct").write_text(f"#!/bin/sh\ncase $5 in {asked}) echo '{line}';; *) exit 1;; esac\n")
    (tmp_path / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def test_a_job_that_left_no_log_is_told_by_accounting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell_accounting(tmp_path, monkeypatch, "7|FAILED|0:53|n2")
    made = submission("cxr-x-1", ("teacher",))
    state = merge(tmp_path, {"teacher": RunState()}, made)["teacher"]
    assert state.error == (
        "job 7 did not start it: SLURM recorded FAILED, exit code 0:53, on n2, and it left no log; "
        f"do the nodes see {tmp_path}?"
    )
    assert merge(tmp_path, {"teacher": RunState()}, made, cancelled=["teacher"])["teacher"].state == "cancelled"


@pytest.mark.parametrize("state", [RunState(), RunState(state="partial", epoch=2)])
@pytest.mark.parametrize(
    "words",
    [
        "error: a setup line of the profile failed: module load cuda",
        "slurmstepd: error: execve(): /opt/python: No such file or directory",
    ],
)
def test_a_job_that_never_began_says_why(tmp_path: Path, state: RunState, words: str) -> None:
    made = submission("cxr-x-1", ("teacher",))
    log = QueueView(folder=tmp_path / "slurm").log_of(places([made], {})[IDS["teacher"]])
    log.parent.mkdir(parents=True)
    lines = ("Loading", words, "srun: error: task 0: Exited with exit code 2", "srun: Terminating StepId=7.0")
    log.write_text("\n".join(lines))
    left = merge(tmp_path, {"teacher": state}, made)["teacher"]
    assert (left.state, left.error) == ("failed", f"job 7 did not start it: {words}")


def test_a_job_that_never_reached_its_run_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = submission("cxr-x-1", ("teacher",), ("pretrain",))
    log = QueueView(folder=tmp_path / "slurm").log_of(places([made], {})[IDS["teacher"]])
    log.parent.mkdir(parents=True)
    log.write_text("module: command not found\n\n")
    tell_accounting(tmp_path, monkeypatch, "7_1|CANCELLED by 0|0:0|None assigned")
    merged = merge(tmp_path, {"teacher": RunState(), "pretrain": RunState()}, made)
    assert merged["teacher"].error == "job 7_0 did not start it: module: command not found"
    assert merged["pretrain"].state == "absent"
    log.write_text(
        "Loading cuda\nslurmstepd-n1: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-01-02T03:04:05 ***\nbye\n"
    )
    assert (
        merge(tmp_path, {"teacher": RunState()}, made)["teacher"].state == "absent"
    )  # it goes on when submitted again
    log.write_text("submitit INFO (2026-01-02 03:04:05,678) - Job completed successfully\n")
    assert merge(tmp_path, {"teacher": RunState()}, made)["teacher"].state == "absent"  # its folder was deleted


def test_runs_that_were_never_queued_are_left_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / IDS["teacher"]
    folder.mkdir()
    write_status(folder, "running")
    found = {"teacher": RunState(state="running")}
    assert merge(tmp_path, found, submission("cxr-x-1", ("a",)), queued("7"))["teacher"] == found["teacher"]
