"""Ask SLURM's queue, and change it: squeue, scontrol and scancel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from launch.executors.base import UnreachableError
from launch.executors.commands import TIMEOUT_S, ask

IDS_PER_CALL = 500
DEFAULT_MAX_ARRAY_SIZE = 1001
"""SLURM's own default."""
NEVER = re.compile(
    r"BadConstraints|Partition(Config|NodeLimit|TimeLimit)|MaxMemPerLimit|(QOS|Assoc)\w*Per(Job|Node)\w*|"
    r"Invalid(Account|QOS)|(Account|QOS)NotAllowed|QOSMin\w+|ReservationDeleted|DependencyNeverSatisfied"
)
"""Reasons for which a job is pending that only its owner can change."""
NEVER_STARTS = "it never starts as the profile asks: cancel it, change the profile, submit again"
NOT_THERE = "it starts when these nodes or this partition are back, or with another partition, constraint or exclude"
ADVICE = {
    NEVER.pattern: NEVER_STARTS,
    r"JobHeldUser": "it is held: scontrol release starts it",
    r"JobHeldAdmin": "an administrator holds it, and has to release it",
    r".*requeued.held|JobHoldMaxRequeue": "held after it failed to start; see its node, then scontrol release",
    r"ReqNodeNotAvail.*|Partition(Down|Inactive)|Nodes required for job are .*": NOT_THERE,
}
"""What to do about reasons that do not pass by themselves."""
PENDING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
"""States of a job that has not started, or waits to start again."""


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """One task of an array, or one job, that the queue still holds."""

    job: str
    """``12`` or ``12_3``."""
    name: str
    state: str
    """PENDING, RUNNING, COMPLETING, SUSPENDED ..."""
    reason: str
    """Why it is pending."""
    node: str
    """Where it runs."""

    @property
    def waits_for(self) -> str:
        """Why it is pending, and what to do when that will not change by itself."""
        advice = next((advice for words, advice in ADVICE.items() if re.fullmatch(words, self.reason)), None)
        return self.reason if advice is None else f"{self.reason}; {advice}"


def read_queue() -> dict[str, QueuedJob]:
    """Return this user's jobs by id, from one squeue call; accounting is not asked.

    Raises:
        UnreachableError: when the queue does not answer.
    """
    text = ask("squeue", "--noheader", "--me", "--array", "--format=%i|%T|%N|%r|%j")
    return {job.job: job for job in map(parse_job, text.splitlines()) if job is not None}


def parse_job(line: str) -> QueuedJob | None:
    """Parse one line of squeue; None for a line of another form."""
    parts = line.strip().split("|", 4)
    if len(parts) < 5 or not re.fullmatch(r"\d+(_\d+)?", parts[0]):
        return None
    job, state, node, reason, name = parts
    return QueuedJob(job=job, name=name, state=state, reason=reason, node=node)


def max_array_size() -> int:
    """Return the number of tasks that one array may hold on this cluster."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(match[1])) if match else DEFAULT_MAX_ARRAY_SIZE


def job_record(job: str, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
    """Return the controller's record of a job, by key; empty when it does not answer."""
    try:
        return parse_record(ask("scontrol", "show", "job", "--oneliner", job, timeout_s=timeout_s))
    except UnreachableError:
        return {}


def parse_record(text: str) -> dict[str, str]:
    """Parse ``scontrol show job --oneliner`` into keys and values; of a value with blanks the first word is kept."""
    return dict(re.findall(r"(?:^| )([A-Za-z/:]+)=(\S*)", text.strip()))


def recorded_failures(jobs: Sequence[str]) -> dict[str, str]:
    """Return in words how accounting, asked once, says that jobs failed; jobs that it does not know are left out."""
    try:
        options = ("--noheader", "--parsable2", "--allocations", "--format=JobID,State,ExitCode,NodeList")
        text = ask("sacct", *options, f"--jobs={','.join(jobs)}") if jobs else ""
    except UnreachableError:
        return {}
    records = [line.split("|") for line in text.splitlines() if line.count("|") == 3]
    return {
        job: f"SLURM recorded {state}, exit code {code}, on {nodes}"
        for job, state, code, nodes in records
        if state not in ("PENDING", "RUNNING", "COMPLETED") and not state.startswith("CANCELLED")
    }


def cancel_jobs(jobs: Sequence[str]) -> None:
    """Take jobs out of the queue; running ones get SIGTERM, in time to save."""
    for start in range(0, len(jobs), IDS_PER_CALL):
        ask("scancel", *jobs[start : start + IDS_PER_CALL])
