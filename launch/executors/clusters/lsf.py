"""IBM Spectrum LSF, by bsub, bjobs and bkill.

A job waits for others by ``done()``, and ends with them (``-ti``). One that is interrupted ends with a status on
which LSF queues it again (``-Q``); so does LSF itself after a lost host (``-r``). Never run on a real LSF: tested
against stand-ins of its commands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from launch.executors.base import QueueError
from launch.executors.clusters.executor import ClusterExecutor
from launch.executors.clusters.job import GO_ON
from launch.executors.clusters.profile import JobProfile
from launch.executors.clusters.queued import HeldJob, NewJob
from launch.executors.commands import ask

RUNNING = ("RUN", "UNKWN", "ZOMBI")
WAITING = {"PEND": "pending", "WAIT": "pending", "PSUSP": "held", "USUSP": "suspended", "SSUSP": "suspended"}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True))
class LsfProfile(JobProfile):
    """What one run asks LSF for."""

    queue: str | None = None
    account: str | None = None
    """LSF's project."""
    bsub: tuple[str, ...] = ()
    """Any other arguments of bsub, as ``["-R", "select[type==any]"]``."""


class LsfExecutor(ClusterExecutor[LsfProfile]):
    """Queue each run by one bsub."""

    profile_type = LsfProfile
    commands = ("bsub", "bjobs", "bkill")
    job_variable = "$LSB_JOBID"
    settle_s = 30.0

    def queue_command(self, job: NewJob, profile: LsfProfile) -> list[str]:
        command = ["bsub", "-J", job.name, "-W", str(profile.time_min), "-n", str(profile.cpus)]
        command += ["-R", "span[hosts=1]", "-Q", str(GO_ON), "-r", "-o", "/dev/null"]
        command += ["-R", f"rusage[mem={profile.mem_mb}MB]"] if profile.mem_mb else []
        command += ["-gpu", f"num={profile.gpus_per_run}"] if profile.gpus_per_run else []
        command += ["-q", profile.queue] if profile.queue else []
        command += ["-P", profile.account] if profile.account else []
        if job.needs:
            command += ["-w", " && ".join(f"done({need})" for need in job.needs), "-ti"]
        return [*command, *profile.bsub, "/bin/bash", "-l", str(job.path)]

    def job_id(self, output: str) -> str:
        found = re.search(r"Job <(\d+)>", output)
        if found is None:
            raise QueueError(f"bsub: {output.strip() or 'no answer'}")
        return found[1]

    def read_queue(self) -> Iterator[HeldJob]:
        try:
            text = ask("bjobs", "-json", "-o", "jobid stat job_name pend_reason")
        except QueueError as error:
            if "No unfinished job found" in str(error):
                return
            raise
        for record in json.loads(text or "{}").get("RECORDS", []):
            job, name, state = record["JOBID"], record["JOB_NAME"], record["STAT"]
            if state in RUNNING:
                yield HeldJob(job=job, name=name, state="running")
            elif state in WAITING:
                words = record.get("PEND_REASON") or WAITING[state]
                yield HeldJob(job=job, name=name, state="queued", waits_for=words)

    def remove(self, jobs: Sequence[str]) -> None:
        try:
            ask("bkill", *jobs)
        except QueueError as error:
            if "already finished" not in str(error):
                raise
