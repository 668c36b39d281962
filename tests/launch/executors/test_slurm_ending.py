"""Why a job was stopped, from what a SLURM 22.05 prints and records."""

from __future__ import annotations

import signal
import time
from datetime import datetime

import pytest

from launch.executors.slurm.ending import Ending, ending_of
from launch.executors.slurm.queue import parse_record

STEP = "slurmstepd-n1: error: *** STEP 12.0 ON n1 CANCELLED AT 2026-11-23T00:10:22"
RECORD = (
    "JobId=1 JobName=a b JobState=RUNNING Reason=None Dependency=(null) Requeue=1 Restarts=0 TimeLimit=01:00:00 "
    "PreemptTime=2026-11-23T00:19:53 NodeList=n1"
)


def why(number: int, log: str = "", *, elapsed_s: float = 60, left_s: float = 3000, **record: str) -> Ending:
    if record:
        record["EndTime"] = datetime.fromtimestamp(time.time() + left_s).isoformat(timespec="seconds")
    return ending_of(number, log, record, elapsed_s=elapsed_s, time_min=60, signal_delay_s=120)


def test_a_record_is_read() -> None:
    record = parse_record(RECORD)
    assert (record["JobState"], record["PreemptTime"], record["NodeList"]) == (
        "RUNNING",
        "2026-11-23T00:19:53",
        "n1",
    )
    assert parse_record("") == {}


@pytest.mark.parametrize(
    ("ending", "name", "goes_back"),
    [
        (why(signal.SIGUSR2, left_s=150, JobState="RUNNING"), "time limit", True),
        (why(signal.SIGUSR2, left_s=3000, JobState="RUNNING"), "requeued", True),
        (why(signal.SIGUSR2, left_s=60, JobState="RUNNING", PreemptTime="2026-01-01T00:00:00"), "preempted", True),
        (why(signal.SIGUSR2, elapsed_s=3500), "time limit", True),
        (why(signal.SIGUSR2, elapsed_s=60), "requeued", True),
        (
            why(signal.SIGTERM, f"{STEP} ***", JobState="RUNNING", PreemptTime="2026-01-01T00:00:00"),
            "preempted",
            True,
        ),
        (why(signal.SIGTERM, f"{STEP} ***", JobState="COMPLETING", PreemptTime="2026-01-01"), "preempted", False),
        (why(signal.SIGTERM, f"{STEP} DUE TO PREEMPTION ***", JobState="COMPLETING"), "preempted", False),
        (why(signal.SIGTERM, f"{STEP} DUE TO JOB REQUEUE ***", JobState="PENDING"), "requeued", False),
        (why(signal.SIGTERM, f"{STEP} DUE TO TIME LIMIT ***"), "time limit", False),
        (why(signal.SIGTERM, f"{STEP} DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***"), "killed", False),
        (why(signal.SIGTERM, f"{STEP} ***"), "cancelled", False),
        (why(signal.SIGTERM), "terminated", False),
    ],
)
def test_endings_are_told_apart(ending: Ending, name: str, goes_back: bool) -> None:
    assert (ending.name, ending.goes_back) == (name, goes_back)
