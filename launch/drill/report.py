"""What a drill found: how each case ended, and what the site's settings prevent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from launch.doctor.finding import Finding
from launch.plan.tables import make_table
from launch.terminal import print_whole

Outcome = Literal["survived", "prevented", "lost", "not tried"]


@dataclass(frozen=True, kw_only=True)
class CaseReport:
    """How one case ended."""

    case: str
    """Name of its run."""
    outcome: Outcome
    """``prevented`` by a setting that a finding names; ``lost`` for no such reason; ``not tried`` without a queue, or
    where the queue refuses what it needs."""
    same_weights: bool | None = None
    """Whether all recorded weights are those of the undisturbed run, bit for bit; None while either has none."""
    lost_s: float | None = None
    """How much longer than the undisturbed run it took, from its first start to its end."""
    what: str = ""
    """What was done to it, and what became of it."""


@dataclass(frozen=True, kw_only=True)
class DrillReport:
    """All that one drill found."""

    cases: Sequence[CaseReport]
    findings: Sequence[Finding]
    """Warnings and failures alone."""

    @property
    def ok(self) -> bool:
        """Whether all survived that can: nothing is lost, and no line of the profile would mend anything."""
        lost = any(case.outcome == "lost" for case in self.cases)
        return not lost and not any(finding.level == "fail" for finding in self.findings)

    def document(self, folder: Path | None) -> dict[str, Any]:
        """Return it as JSON values; ``folder`` is what was left, if anything."""
        return {
            "ok": self.ok,
            "folder": None if folder is None else str(folder),
            "cases": [asdict(case) for case in self.cases],
            "findings": [asdict(finding) for finding in self.findings],
        }

    def show(self) -> None:
        """Print a table of the cases and one of the findings."""
        headers = ("case", "outcome", "weights", "lost", "what happened")
        cases = make_table(*headers, left=headers[-1:], right=("lost",))
        weights = {True: "the same", False: "others", None: ""}
        for case in self.cases:
            lost = "" if case.lost_s is None else f"{case.lost_s:.0f} s"
            cases.add_row(case.case, case.outcome, weights[case.same_weights], lost, case.what)
        tables = [cases]
        if self.findings:
            about = ("the site or the profile", "what to do")
            findings = make_table("", "about", *about, left=about, right=())
            for finding in self.findings:
                findings.add_row(finding.level, finding.area, finding.what, finding.fix)
            tables.append(findings)
        for table in tables:
            print_whole(table)
            print()
