"""The drill on this machine, which has no queue: what Ctrl-C, SIGKILL and a full disk do to runs."""

from __future__ import annotations

from datasets.files import DISK_FULL_REASONS
from launch.drill.folder import DrillFolder, drill_request
from launch.drill.guard import Strike
from launch.drill.report import CaseReport, DrillReport
from launch.drill.victims import REFERENCE, Victim, compared
from launch.executors.base import Executor, Outcome

STRIKES: dict[str, Strike] = {"cancelled": "interrupt", "killed": "kill", "disk_full": "disk"}
SIGNS = {"killed": ("SIGKILL",), "disk_full": tuple(DISK_FULL_REASONS.values())}
"""What the failure of a run's first start says, by its name."""


def drill_locally(folder: DrillFolder, executor: Executor) -> DrillReport:
    """Submit the runs, one of which interrupts the submission, and submit them again; return what became of them.

    Raises:
        KeyboardInterrupt: on Ctrl-C by a person; every run has then ended.
    """
    victims = {run.name: Victim(run, folder.runs_dir) for run in folder.runs}
    tried = [victim.run for victim in victims.values() if victim.name in (REFERENCE, *STRIKES)]
    first = _submit(folder, executor, victims, ["undisturbed", "killed", "disk_full"])
    try:
        _submit(folder, executor, victims, ["cancelled"])
    except KeyboardInterrupt:
        if not victims["cancelled"].is_struck:
            raise
    last = _submit(folder, executor, victims, [run.name for run in tried])
    cases = [_report(victim, first, last) for victim in victims.values()]
    return DrillReport(cases=[compared(case, victims[case.case], victims[REFERENCE]) for case in cases], findings=())


def _submit(
    folder: DrillFolder, executor: Executor, victims: dict[str, Victim], names: list[str]
) -> dict[str, Outcome]:
    request = drill_request(folder, [victims[name].run for name in names], STRIKES)
    return {outcome.run.name: outcome for outcome in executor.submit(request)}


def _report(victim: Victim, first: dict[str, Outcome], last: dict[str, Outcome]) -> CaseReport:
    name = victim.name
    if name not in last:
        return CaseReport(case=name, outcome="not tried", what="there is no queue here")
    reason = first[name].reason if name in first else ""
    told = name not in SIGNS or any(sign in reason for sign in SIGNS[name])
    struck = name == REFERENCE or (victim.is_struck and told)
    if struck and last[name].state in ("done", "skipped"):
        again = "submitted again it went on" if name != REFERENCE else ""
        return CaseReport(case=name, outcome="survived", what=victim.story(again))
    why = last[name].reason or "nothing ended its first start"
    return CaseReport(case=name, outcome="lost", what=victim.story(why))
