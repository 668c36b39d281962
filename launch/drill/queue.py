"""The drill in a SLURM queue: all runs are queued at once, and each case is followed to its end."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from launch.doctor.finding import Finding
from launch.doctor.slurm import limit_minutes
from launch.drill.folder import LONGEST_DELAY_S, LONGEST_MIN, DrillFolder, drill_request
from launch.drill.guard import Strike
from launch.drill.report import CaseReport, DrillReport
from launch.drill.settings import check_site, merged, no_requeue, no_warning, symptom_of
from launch.drill.victims import LOOKS, REFERENCE, Victim, compared
from launch.executors.base import Executor, QueueError
from launch.executors.commands import ask
from launch.executors.slurm.entry import NOT_QUEUED_AGAIN
from launch.executors.slurm.profile import ClusterConfig
from launch.executors.slurm.queue import NEVER_STARTS
from launch.plan.run_state import read_states
from launch.plan.tables import plural

POLL_S = 1.0
SUBMITS = 2
"""How often a run that left the queue unfinished is submitted again."""
STRIKES: dict[str, Strike] = {
    **dict.fromkeys(("requeued", "cancelled", "timed_out"), "hold"),
    "killed": "kill",
    "disk_full": "disk",
}
NEAR_MIN = 1 + math.ceil(LONGEST_DELAY_S / 60)
"""Minutes before its time limit at which a job may be warned: SLURM does it up to one early."""

Waiting = Generator[None, None, None]
"""Yields until the next look at the queue."""
logger = logging.getLogger(__name__)


class NotSurvivedError(Exception):
    """A run never began, was never struck, or did not go on; the message says why."""


class NotTriedError(Exception):
    """The queue refused what a case needs; the message says why."""


@dataclass
class QueueDrill:
    """A drill in a queue; ``profile`` is the user's, of which the folder has a copy with another time limit."""

    folder: DrillFolder
    executor: Executor
    profile: Path
    cluster: ClusterConfig
    wait_min: float
    """Minutes after which runs that have not ended are given up."""
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take the runs of the grid, none of which has been looked at."""
        self.victims = {run.name: Victim(run, self.folder.runs_dir) for run in self.folder.runs}
        self.started = time.monotonic()
        self._shown: dict[str, str] = {}

    def run(self) -> DrillReport:
        """Queue the runs, follow them, and return what became of them.

        Raises:
            InputError: when the queue takes no jobs.
            KeyboardInterrupt: on Ctrl-C; the drill's jobs are then cancelled.
        """
        self.findings += check_site(self.cluster, self.profile)
        try:
            self._submit(list(self.victims))
            reports = self._follow()
        finally:
            self._cancel_what_is_left()
        reference = self.victims[REFERENCE]
        cases = [compared(report, self.victims[report.case], reference) for report in reports]
        return DrillReport(cases=cases, findings=merged(self.findings))

    def _submit(self, names: Sequence[str]) -> None:
        """Queue the runs of these names."""
        request = drill_request(self.folder, [self.victims[name].run for name in names], STRIKES)
        self.executor.submit(replace(request, profile=self.folder.profile, allow_dirty=True))
        for name in names:
            self.victims[name].looks_outside = 0

    def _cancel_what_is_left(self) -> None:
        """Cancel what the queue still holds of runs that are not done, and say so."""
        left = [victim.run for victim in self.victims.values() if victim.state.state != "done"]
        count = self.executor.cancel(left) if left else 0
        if count:
            logger.info("%s of the drill cancelled", plural(count, "job"))

    def _follow(self) -> list[CaseReport]:
        """Look at the queue until every case has a report."""
        cases = {name: self._case(victim) for name, victim in self.victims.items()}
        reports: dict[str, CaseReport] = {}
        while True:
            self._look()
            for name in cases.keys() - reports.keys():
                try:
                    next(cases[name])
                except StopIteration as stop:
                    reports[name] = stop.value
                    self._tell(self.victims[name], stop.value.outcome)
            if len(reports) == len(cases):
                return [reports[name] for name in cases]
            time.sleep(POLL_S)

    def _look(self) -> None:
        """Read the states of all runs, and have the queue start at once what it holds for a while."""
        runs = [victim.run for victim in self.victims.values()]
        try:
            states = self.executor.states(runs, partial(read_states, runs, self.folder.runs_dir, {}))
        except QueueError as error:
            logger.warning("%s; asking again", error)
            return
        for victim in self.victims.values():
            victim.look(states[victim.run.run_id])
            if victim.state.state == "queued" and (victim.state.waits_for or "").startswith("BeginTime"):
                with suppress(QueueError):  # SLURM lets a job that was queued again wait for two minutes
                    ask("scontrol", "update", f"JobId={victim.state.job}", "StartTime=now")
            self._tell(victim, victim.state.state + (f" as job {victim.state.job}" if victim.state.job else ""))

    def _tell(self, victim: Victim, words: str) -> None:
        """Show where a run stands, once."""
        if self._shown.get(victim.name) != words:
            self._shown[victim.name] = words
            logger.info("%4.0f s  %s: %s", time.monotonic() - self.started, victim.name, words)

    def _case(self, victim: Victim) -> Generator[None, None, CaseReport]:
        """Follow one run to its end, and do to it what its name says."""
        try:
            if victim.name != REFERENCE:
                yield from self._until(victim, lambda: victim.is_struck)
            if victim.name == "requeued":
                yield from self._requeue(victim)
            elif victim.name == "cancelled":
                yield from self._cancel_and_retry(victim)
            elif victim.name == "timed_out":
                self._bring_time_limit_near(victim)
            yield from self._until_done(victim)
        except NotTriedError as error:
            return CaseReport(case=victim.name, outcome="not tried", what=str(error))
        except NotSurvivedError as error:
            finding = symptom_of(str(error), victim.name, self.profile)
            self.findings += [] if finding is None else [finding]
            return CaseReport(
                case=victim.name, outcome="lost" if finding is None else "prevented", what=victim.story(str(error))
            )
        if victim.prevented:
            return CaseReport(case=victim.name, outcome="prevented", what=victim.story(victim.prevented))
        return CaseReport(case=victim.name, outcome="survived", what=victim.story())

    def _until(self, victim: Victim, ready: Callable[[], bool]) -> Waiting:
        """Wait until it is so.

        Raises:
            NotSurvivedError: when the run has ended or can never start, or when the time for the drill is over.
        """
        while not ready():
            state = victim.state
            if state.state in ("failed", "stale", "damaged"):
                raise NotSurvivedError(state.error or state.state)
            if state.state == "done":
                raise NotSurvivedError("it was done before it could be struck")
            if victim.looks_outside > LOOKS:
                raise NotSurvivedError(f"its jobs left the queue unfinished; do the nodes see {self.folder.path}?")
            if NEVER_STARTS in (state.waits_for or ""):
                raise NotSurvivedError(str(state.waits_for))
            if time.monotonic() - self.started > 60 * self.wait_min:
                waits = f" ({state.waits_for})" if state.waits_for else ""
                raise NotSurvivedError(f"not ended in {self.wait_min:g} minutes: {state.state}{waits}")
            yield

    def _requeue(self, victim: Victim) -> Waiting:
        """Have the queue take a running job back; where it refuses, cancel the job and submit the run again."""
        try:
            ask("scontrol", "requeue", str(victim.state.job))
        except QueueError as error:
            self.findings.append(no_requeue(str(error), self.cluster, self.profile))
            victim.prevented = f"{error}; cancelled and submitted again"
            yield from self._cancel_and_retry(victim)

    def _bring_time_limit_near(self, victim: Victim) -> None:
        """Shorten the time limit of a running job, so that it is warned within a minute or two.

        Queued again it has at least the time that its first start took to be struck, in which it gets to a new
        checkpoint: under a limit as short from the beginning, nodes that start slowly would never get there.

        Raises:
            NotTriedError: when the queue does not let it.
        """
        job = str(victim.state.job)
        try:
            elapsed = ask("squeue", "--noheader", f"--job={job}", "--format=%M")
            limit_min = (limit_minutes(elapsed) or 0) + 1 + NEAR_MIN
            if limit_min < min(self.cluster.time_min, LONGEST_MIN):  # users may shorten limits, not lengthen them
                ask("scontrol", "update", f"JobId={job}", f"TimeLimit={limit_min}")
        except QueueError as error:
            raise NotTriedError(f"its time limit could not be shortened: {error}") from None

    def _cancel_and_retry(self, victim: Victim) -> Waiting:
        self.executor.cancel([victim.run])
        yield from self._until(victim, lambda: victim.state.state == "cancelled")
        self._submit([victim.name])
        yield

    def _why_it_left(self, victim: Victim) -> list[Finding]:
        """Say why a job that was stopped did not go back into the queue, as far as its log and its case tell."""
        log = self.executor.logs(victim.run)
        text = log.read_text(encoding="utf-8", errors="replace") if log is not None and log.exists() else ""
        refused = re.search(rf"{NOT_QUEUED_AGAIN} \((.*?)\);", text)
        if refused is not None:
            return [no_requeue(refused[1], self.cluster, self.profile)]
        return [no_warning(self.profile)] if victim.name == "timed_out" else []

    def _until_done(self, victim: Victim) -> Waiting:
        """Wait for the run's result; submit it again when it left the queue, or failed over the full disk.

        Raises:
            NotSurvivedError: as ``_until``, or when it did not meet what should have struck it.
        """
        for submits in range(SUBMITS + 1):
            yield from self._until(victim, lambda: victim.state.state == "done" or victim.has_stopped)
            if victim.state.state == "done" or submits == SUBMITS:
                break
            if victim.state.state != "failed" and not victim.prevented:
                victim.prevented = "it left the queue unfinished and was submitted again"
                self.findings += self._why_it_left(victim)
            self._submit([victim.name])
            yield
        yield from self._until(victim, lambda: victim.state.state == "done")
        if victim.name != REFERENCE and len(victim.endings) < 2:
            raise NotSurvivedError("nothing ended its first start")
