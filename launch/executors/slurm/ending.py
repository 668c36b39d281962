"""Tell why a job is stopped, from the signal, SLURM's words in the log and the controller's record."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

EARLY_S = 90.0
"""SLURM looks at time limits every 30 s and sends the signal up to a minute early."""
SAID = {
    "DUE TO PREEMPTION": "preempted",
    "DUE TO TIME LIMIT": "time limit",
    "DUE TO JOB REQUEUE": "requeued",
    "DUE TO NODE FAILURE": "killed",
}
"""What slurmstepd prints into a step's log before it signals the step, by what that means."""
STDERR = Path("/proc/self/fd/2")
SETUP_FAILED = "error: a setup line of the profile failed"
NEVER_BEGAN = re.compile(rf"^.*(?:{SETUP_FAILED}|execve\(\)).*$", re.MULTILINE)
"""What a job's log says when nothing of the harness was started, for want of Python as an example."""
HOLDS_US = ("RUNNING", "SIGNALING")
"""States of a job that the controller has not begun to end: SIGNALING is said while a signal, such as that of a
preemption with a grace time, is on its way to the job's nodes."""
CANCELLED = re.compile(r"\*\*\* (?:JOB|STEP) \S+ ON \S+ (?:CANCELLED|FAILED).*")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a start of a job ends."""

    name: str
    """``time limit``, ``preempted``, ``requeued`` (asked for by a person), ``cancelled``, ``killed``, ``terminated``
    (for no reason that was given)."""
    goes_back: bool
    """Whether the job still runs by the controller's books and has to put itself back into the queue."""


def ending_of(
    number: int, log: str, record: Mapping[str, str], *, elapsed_s: float, time_min: int, signal_delay_s: int
) -> Ending:
    """Tell why this process is stopped.

    Args:
        number: signal that came; SIGUSR2 announces an end, SIGTERM is one.
        log: what SLURM printed into the step's log since the start.
        record: the controller's record of the job; empty when it does not answer.
        elapsed_s: seconds since the start, used for want of a record.
        time_min: time limit in minutes.
        signal_delay_s: seconds before the limit at which SIGUSR2 was asked for.
    """
    preempted = record.get("PreemptTime", "None") != "None"
    left_s = _seconds_left(record)
    if left_s is None:
        left_s = 60 * time_min - elapsed_s
    if number == signal.SIGUSR2 or (preempted and record.get("JobState") in HOLDS_US):
        near_limit = left_s <= signal_delay_s + EARLY_S
        return Ending(name="preempted" if preempted else "time limit" if near_limit else "requeued", goes_back=True)
    causes = [cause for words, cause in SAID.items() if words in log]
    if causes or preempted:
        return Ending(name=causes[-1] if causes else "preempted", goes_back=False)
    return Ending(name="cancelled" if CANCELLED.search(log) else "terminated", goes_back=False)


def log_size() -> int | None:
    """Return the size of the file that this process's standard error goes to; None when it is no file."""
    return STDERR.stat().st_size if STDERR.is_file() else None


def log_since(start: int | None) -> str:
    """Return what came into that file since it had this size."""
    if start is None:
        return ""
    with STDERR.open("rb") as log:
        log.seek(start)
        return log.read().decode("utf-8", errors="replace")


def _seconds_left(record: Mapping[str, str]) -> float | None:
    try:
        return datetime.fromisoformat(record.get("EndTime", "")).timestamp() - time.time()
    except ValueError:
        return None
