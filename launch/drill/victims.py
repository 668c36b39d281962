"""A run of the drill as it is seen from outside, and what it lost compared with the undisturbed one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets.errors import InputError
from datasets.files import DISK_FULL_REASONS
from harness.runs.folder import RunFolder
from launch.drill.guard import read_notes
from launch.drill.report import CaseReport
from launch.grids.grid import GridRun
from launch.plan.history import read_history
from launch.plan.run_state import ABSENT, RunState

REFERENCE = "undisturbed"
LOOKS = 5
"""A struck run counts as out of the queue after so many looks: files may come late from a node."""


@dataclass
class Victim:
    """One run, and its state at the last look."""

    run: GridRun
    runs_dir: Path
    state: RunState = ABSENT
    looks_outside: int = 0
    """Looks in a row at which neither the queue nor a result or failure of its had it."""
    prevented: str = ""
    """What kept it from going on by itself."""

    def look(self, state: RunState) -> None:
        """Take its state at this look."""
        self.state = state
        self.looks_outside = self.looks_outside + 1 if state.state in ("absent", "partial") else 0

    @property
    def name(self) -> str:
        """The case."""
        return self.run.name

    @cached_property
    def folder(self) -> RunFolder:
        """Its files."""
        return RunFolder(self.runs_dir / self.run.run_id)

    @property
    def notes(self) -> dict[str, Any]:
        """What its guards wrote; empty while that cannot be read."""
        try:
            return read_notes(self.folder)
        except InputError:
            return {}

    @property
    def is_struck(self) -> bool:
        """Whether its guard has struck it."""
        return bool(self.notes.get("struck"))

    @property
    def has_stopped(self) -> bool:
        """Whether it goes on once it is submitted again: it left the queue, or failed over its full disk."""
        left = self.is_struck and self.looks_outside >= LOOKS
        reasons = tuple(DISK_FULL_REASONS.values())
        full = self.name == "disk_full" and any(reason in (self.state.error or "") for reason in reasons)
        return left or (self.state.state == "failed" and full)

    def story(self, then: str = "") -> str:
        """What was done to it, how its starts ended, and what became of it ``then``."""
        ended = f"its starts ended by: {', '.join(self.endings)}" if len(self.endings) > 1 else ""
        return "; ".join(filter(None, (self.notes.get("how"), ended, then)))

    @property
    def endings(self) -> list[str]:
        """How its starts in a queue ended, as the jobs told."""
        return [start["ending"] or start.get("told") or "" for start in read_history(self.folder.path)]

    @property
    def weights(self) -> list[tuple[int, str]]:
        """Step and hash of all weights that it recorded, and of those that it kept; empty before its end."""
        result = self.folder.result()
        if result is None:
            return []
        return [(step["step"], step["weights_hash"]) for step in self.folder.steps()] + [
            (int(result["best_epoch"]), str(result["weights_hash"]))
        ]

    @property
    def seconds(self) -> float | None:
        """Time from its first start to its end, less the time for which the drill held it."""
        notes = self.notes
        if self.folder.result() is None or not notes.get("ended"):
            return None
        return float(notes["ended"] - notes["began"] - notes["held_s"])

    @property
    def arithmetic(self) -> dict[str, Any]:
        """What decided the bits of its last recorded step."""
        last = list(self.folder.steps())[-1:]
        return {key: value for step in last for key, value in step.items() if key not in ("step", "weights_hash")}


def compared(report: CaseReport, victim: Victim, reference: Victim) -> CaseReport:
    """Return the report with weights and time compared with the undisturbed run's, where both are done.

    Other weights are a loss, unless the two computed on devices of different kinds.
    """
    if victim is reference or not victim.weights or not reference.weights:
        return report
    taken, usual = victim.seconds, reference.seconds
    lost = None if taken is None or usual is None else max(0.0, taken - usual)
    report = replace(report, same_weights=victim.weights == reference.weights, lost_s=lost)
    if report.same_weights or report.outcome != "survived":
        return report
    here, there = victim.arithmetic, reference.arithmetic
    different = [f"{key} {here.get(key)}, not {there[key]}" for key in there if here.get(key) != there[key]]
    if different:
        return replace(report, what=f"{report.what}; other weights, since it had {'; '.join(different)}")
    return replace(report, outcome="lost", what=f"{report.what}; its weights are others")
