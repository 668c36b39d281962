"""HTCondor, by condor_submit, condor_q and condor_rm, on hosts that share the folder of runs.

HTCondor's own queue knows no order between jobs, so a run is queued once what it needs is done: ``cxr grid watch``
does that. A job that is interrupted ends with a status on which it stays in the queue (``on_exit_remove``), like one
that is evicted. Never run on a real HTCondor: tested against stand-ins of its commands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import field

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from launch.executors.base import QueueError
from launch.executors.clusters.executor import ClusterExecutor
from launch.executors.clusters.job import GO_ON
from launch.executors.clusters.profile import JobProfile
from launch.executors.clusters.queued import HeldJob, NewJob
from launch.executors.commands import ask

ATTRIBUTES = ("ClusterId", "JobStatus", "HoldReason", "CxrJob")
RUNNING = (2, 3, 6)
"""JobStatus of what runs, is being removed, or transfers its output."""
WAITING = {1: "idle", 5: "held", 7: "suspended"}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True))
class CondorProfile(JobProfile):
    """What one run asks HTCondor for."""

    account: str | None = None
    """HTCondor's accounting group."""
    condor_submit: dict[str, str | int | bool] = field(default_factory=dict)
    """Any other command of a submit description, a table: ``require_gpus = "Capability >= 8"``."""


class CondorExecutor(ClusterExecutor[CondorProfile]):
    """Queue each run by one condor_submit."""

    profile_type = CondorProfile
    commands = ("condor_submit", "condor_q", "condor_rm")
    job_variable = "$CXR_JOB"
    orders_jobs = False

    def queue_command(self, job: NewJob, profile: CondorProfile) -> list[str]:
        return ["condor_submit", "-terse", str(job.path.with_suffix(".sub"))]

    def description(self, job: NewJob, profile: CondorProfile) -> tuple[str, str]:
        script = str(job.path).replace("'", "''").replace('"', '""')
        values: dict[str, str | int | bool | None] = {
            "universe": "vanilla",
            "executable": "/bin/bash",
            "arguments": f"\"-l '{script}'\"",
            "environment": '"CXR_JOB=$(ClusterId)"',
            "should_transfer_files": "NO",
            "transfer_executable": False,
            "request_cpus": profile.cpus,
            "request_memory": profile.mem_mb,
            "request_gpus": profile.gpus_per_run or None,
            "accounting_group": profile.account,
            "on_exit_remove": f"ExitCode =!= {GO_ON}",
            "kill_sig": "SIGTERM",
            "job_max_vacate_time": profile.signal_delay_s,
            "+CxrJob": f'"{job.name}"',
            **profile.condor_submit,
        }
        lines = [f"{key} = {value}" for key, value in values.items() if value is not None]
        return ".sub", "\n".join([*lines, "queue", ""])

    def job_id(self, output: str) -> str:
        found = re.match(r"(\d+)\.", output.strip())
        if found is None:
            raise QueueError(f"condor_submit: {output.strip() or 'no answer'}")
        return found[1]

    def read_queue(self) -> Iterator[HeldJob]:
        command = ("condor_q", "-json", "-attributes", ",".join(ATTRIBUTES), "-constraint", "CxrJob =!= undefined")
        for ad in json.loads(ask(*command).strip() or "[]"):
            job, name, status = str(ad["ClusterId"]), ad["CxrJob"], ad["JobStatus"]
            if status in RUNNING:
                yield HeldJob(job=job, name=name, state="running")
            elif status in WAITING:
                words = ": ".join(filter(None, (WAITING[status], ad.get("HoldReason"))))
                yield HeldJob(job=job, name=name, state="queued", waits_for=words)

    def remove(self, jobs: Sequence[str]) -> None:
        ask("condor_rm", *jobs)
