"""How a drill follows its runs through a queue, whose odd ways a stand-in plays."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from launch.drill import queue
from launch.drill.folder import DrillFolder
from launch.drill.guard import NOTES_NAME
from launch.drill.queue import QueueDrill
from launch.drill.report import CaseReport, DrillReport
from launch.executors.base import Executor, Outcome, QueueError, SubmitRequest
from launch.executors.slurm.profile import ClusterConfig
from launch.executors.slurm.queue import NEVER_STARTS
from launch.grids.grid import GridRun
from launch.plan.run_state import RunState

DONE, RUNNING, PARTIAL = RunState(state="done"), RunState(state="running", job="7"), RunState(state="partial")
FULL = RunState(state="failed", error="InputError: checkpoint/last: the disk is full; make room")
FIRST: dict[str, RunState] = {"cancelled": RUNNING, "requeued": RUNNING, "disk_full": FULL}
"""States of the runs that are not done by their first submission."""


class StandInQueue(Executor):
    """A queue in which all runs are done, the first three once they were queued or submitted again."""

    def __init__(self, name: str, runs_dir: Path) -> None:
        super().__init__(name, runs_dir)
        self.first = dict(FIRST)
        self.submitted: list[str] = []
        self.taken_back: list[str] = []
        self.cancelled: set[str] = set()
        self.weights: dict[str, tuple[str, str]] = {}
        """Hash and device of the runs that end with others."""
        self.job_log: Path | None = None
        self.refused: tuple[str, ...] = ()
        """Command that is refused."""
        self.updates: list[tuple[str, ...]] = []
        self.stop: BaseException | None = None

    def submit(self, request: SubmitRequest) -> list[Outcome]:
        names = [decision.run.name for decision in request.plan]
        self.submitted += names
        self.cancelled -= set(names)
        return []

    def states(
        self, runs: Sequence[GridRun], read_folders: Callable[[], Mapping[str, RunState]]
    ) -> Mapping[str, RunState]:
        if self.stop is not None:
            raise self.stop
        return {run.run_id: self._state(run.name, self.runs_dir / run.run_id) for run in runs}

    def _state(self, name: str, folder: Path) -> RunState:
        again = self.submitted.count(name) > 1 or name in self.taken_back
        state = DONE if again else self.first.get(name, DONE)
        if name in self.cancelled:
            return RunState(state="cancelled")
        if state.state != "queued":
            strike(folder)
        if state is DONE:
            finish(folder, ["done"] if name == "undisturbed" else ["failed", "done"], *self.weights.get(name, ()))
        return state

    def cancel(self, runs: Sequence[GridRun]) -> int:
        self.cancelled |= {run.name for run in runs}
        return len(runs)

    def logs(self, run: GridRun) -> Path | None:
        return self.job_log

    def ask(self, *command: str) -> str:
        """Stand for SLURM's commands, but for those that it refuses."""
        if command[:2] == self.refused:
            raise QueueError(f"{command[0]}: Requested operation is presently disabled for job 7")
        if command[:2] == ("scontrol", "requeue"):
            self.taken_back.append("requeued")
        if command[:2] == ("scontrol", "update"):
            self.updates.append(command[2:])
        return "5:59" if command[0] == "squeue" else ""


def strike(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    seconds = 20.0 if (folder / "attempts.json").exists() else 12.0
    notes = {"began": 100.0, "struck": 110.0, "held_s": 5.0, "how": "struck", "ended": 105.0 + seconds}
    (folder / NOTES_NAME).write_text(json.dumps(notes))


def finish(folder: Path, endings: list[str], weights: str = "aa", device: str = "A100") -> None:
    (folder / "attempts.json").write_text(json.dumps([{"ending": ending} for ending in endings]))
    (folder / "result.json").write_text(json.dumps({"best_epoch": 4, "weights_hash": weights}))
    (folder / "steps.jsonl").write_text(json.dumps({"step": 10, "weights_hash": weights, "device": device}) + "\n")


@pytest.fixture
def drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QueueDrill:
    """A drill in which all survives, unless its queue is told to play otherwise."""
    profile = tmp_path / "p.toml"
    profile.write_text('partition = "gpu"\nsignal_delay_s = 60\n')
    folder = DrillFolder(tmp_path / "drill")
    made = QueueDrill(folder, StandInQueue("slurm", folder.runs_dir), profile, ClusterConfig(), wait_min=5.0)
    monkeypatch.setattr(queue, "POLL_S", 0.0)
    monkeypatch.setattr(queue, "check_site", lambda *_: ())
    monkeypatch.setattr(queue, "ask", queue_of(made).ask)
    return made


def queue_of(drill: QueueDrill) -> StandInQueue:
    assert isinstance(drill.executor, StandInQueue)
    return drill.executor


def outcomes(report: DrillReport, *wanted: str) -> dict[str, str]:
    return {case.case: case.outcome for case in report.cases if case.outcome in wanted}


def case(report: DrillReport, name: str) -> CaseReport:
    return next(case for case in report.cases if case.case == name)


def test_what_survives_is_compared_with_the_undisturbed_run(drill: QueueDrill) -> None:
    report = drill.run()
    assert (report.ok, report.findings, outcomes(report, "prevented", "lost", "not tried")) == (True, [], {})
    submitted = queue_of(drill).submitted
    assert submitted[:6] == ["undisturbed", "requeued", "cancelled", "timed_out", "killed", "disk_full"]
    assert sorted(submitted[6:]) == ["cancelled", "disk_full"]
    assert report.document(None)["cases"][4] == {
        "case": "killed",
        "outcome": "survived",
        "same_weights": True,
        "lost_s": 0.0,
        "what": "struck; its starts ended by: failed, done",
    }


def test_other_weights_are_a_loss_unless_the_device_was_another(drill: QueueDrill) -> None:
    queue_of(drill).weights = {"killed": ("bb", "A100"), "cancelled": ("bb", "H100")}
    report = drill.run()
    assert (report.ok, outcomes(report, "lost")) == (False, {"killed": "lost"})
    assert case(report, "killed").what.endswith("; its weights are others")
    assert case(report, "cancelled").what.endswith("; other weights, since it had device H100, not A100")
    assert not case(report, "cancelled").same_weights


def test_the_time_limit_leaves_another_start_the_time_that_the_first_one_took(drill: QueueDrill) -> None:
    queue_of(drill).first["timed_out"] = RUNNING
    drill.wait_min = 0.002
    drill.run()
    assert queue_of(drill).updates == [("JobId=7", "TimeLimit=8")]  # less 2 minutes, in which it may be warned


def test_a_time_limit_that_is_nearer_already_stays(drill: QueueDrill) -> None:
    drill.cluster = ClusterConfig(time_min=8)
    drill.run()
    assert queue_of(drill).updates == []


def test_a_queue_that_lets_no_time_limit_be_shortened(drill: QueueDrill) -> None:
    queue_of(drill).refused = ("scontrol", "update")
    report = drill.run()
    assert (report.ok, outcomes(report, "prevented", "lost", "not tried")) == (True, {"timed_out": "not tried"})
    refusal = "scontrol: Requested operation is presently disabled for job 7"
    assert case(report, "timed_out").what == f"its time limit could not be shortened: {refusal}"


def test_a_job_that_is_not_taken_back_is_submitted_again(drill: QueueDrill) -> None:
    queue_of(drill).refused = ("scontrol", "requeue")
    report = drill.run()
    assert (report.ok, outcomes(report, "prevented", "lost")) == (True, {"requeued": "prevented"})
    (finding,) = report.findings
    assert (finding.area, finding.what) == ("requeue", "scontrol: Requested operation is presently disabled")


@pytest.mark.parametrize(
    ("log", "area"),
    [
        ("JobFailedError: could not be queued again (scontrol: disabled for job 7); cxr", "requeue"),
        ("", "time limit"),
    ],
)
def test_a_run_that_left_the_queue_at_its_limit(drill: QueueDrill, log: str, area: str, tmp_path: Path) -> None:
    queue_of(drill).first["timed_out"] = PARTIAL
    queue_of(drill).job_log = tmp_path / "job.out"
    (tmp_path / "job.out").write_text(log)
    report = drill.run()
    assert (report.ok, outcomes(report, "prevented", "lost")) == (True, {"timed_out": "prevented"})
    (finding,) = report.findings
    assert (finding.area, finding.level) == (area, "warn")
    assert area == "requeue" or finding.fix.startswith(f"{drill.profile}:2: signal_delay_s = 60; ")


def test_a_job_that_never_starts_and_one_that_fails_of_itself(drill: QueueDrill) -> None:
    queue_of(drill).first["killed"] = RunState(state="queued", job="7", waits_for=f"PartitionConfig; {NEVER_STARTS}")
    queue_of(drill).first["disk_full"] = RunState(state="failed", error="ValueError: bad images")
    report = drill.run()
    assert outcomes(report, "prevented", "lost") == {"killed": "prevented", "disk_full": "lost"}
    (finding,) = report.findings
    assert (finding.level, finding.area) == ("fail", "queue")
    assert finding.fix.startswith(f'{drill.profile}:1: partition = "gpu"; ')
    assert case(report, "disk_full").what == "struck; ValueError: bad images"
    assert queue_of(drill).submitted.count("disk_full") == 1


def test_a_run_that_nothing_ended_was_not_tried(drill: QueueDrill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.drill.victims.Victim.endings", ["done"])
    report = drill.run()
    assert set(outcomes(report, "lost")) == set(drill.victims) - {"undisturbed"}
    assert case(report, "timed_out").what == "struck; nothing ended its first start"


def test_jobs_that_do_not_end_in_time_are_given_up_and_cancelled(
    drill: QueueDrill, caplog: pytest.LogCaptureFixture
) -> None:
    drill.wait_min = 0.0
    queue_of(drill).first["killed"] = RunState(state="queued", job="7", waits_for="Priority")
    with caplog.at_level(logging.INFO, "launch"):
        report = drill.run()
    assert case(report, "killed").what == "not ended in 0 minutes: queued (Priority)"
    assert case(report, "killed").outcome == "lost"
    assert "killed" in queue_of(drill).cancelled
    assert "jobs of the drill cancelled" in caplog.text


def test_ctrl_c_cancels_the_jobs_and_says_so(drill: QueueDrill, caplog: pytest.LogCaptureFixture) -> None:
    queue_of(drill).stop = KeyboardInterrupt()
    with caplog.at_level(logging.INFO, "launch"), pytest.raises(KeyboardInterrupt):
        drill.run()
    assert queue_of(drill).cancelled == set(drill.victims)
    assert caplog.messages[-1] == "6 jobs of the drill cancelled"
