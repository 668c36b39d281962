"""PBS Pro, OpenPBS and Torque, and SLURM's wrappers of their commands: qsub, qstat and qdel.

A job waits for others by ``afterok``. PBS lets nobody but an operator queue a job again, so one that meets its time
limit leaves the queue, as do those that wait for it, and ``cxr grid watch`` queues them anew; what PBS itself queues
again, after a preemption or a lost node, goes on by itself. Tested with the wrappers on a real SLURM, and against
stand-ins of PBS's own commands; never run on a real PBS.
"""

from __future__ import annotations

import getpass
import re
import shutil
from collections.abc import Iterator, Sequence

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from launch.executors.clusters.executor import ClusterExecutor
from launch.executors.clusters.profile import JobProfile
from launch.executors.clusters.queued import HeldJob, NewJob
from launch.executors.commands import ask

NO_SUCH_JOB = (0, 35, 153)
"""Exit statuses of a command that found all jobs, or that some have ended (errors 15139 and 15001 modulo 256)."""
RUNNING = ("R", "E")
WAITING = {"Q": "queued", "H": "held", "W": "waits for its time", "T": "moves", "S": "suspended", "U": "suspended"}
IDS_PER_CALL = 500
ATTRIBUTE = re.compile(r"\s+([\w.]+) = (.*)")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True))
class PbsProfile(JobProfile):
    """What one run asks PBS for."""

    queue: str | None = None
    account: str | None = None
    resources: str | None = None
    """Resources in the site's words, in place of ``select=1:ncpus=C:ngpus=G:mem=M``: Torque's ``nodes=1:ppn=4``."""
    qsub: tuple[str, ...] = ()
    """Any other arguments of qsub, as ``["-l", "place=excl"]``."""


class PbsExecutor(ClusterExecutor[PbsProfile]):
    """Queue each run by one qsub."""

    profile_type = PbsProfile
    commands = ("qsub", "qstat", "qdel")
    # SLURM sets its own variable for jobs of its wrappers alone.
    job_variable = "${PBS_JOBID:-$SLURM_JOB_ID}"

    def queue_command(self, job: NewJob, profile: PbsProfile) -> list[str]:
        hours, minutes = divmod(profile.time_min, 60)
        command = ["qsub", "-N", job.name, "-l", f"walltime={hours:02d}:{minutes:02d}:00", "-l", _resources(profile)]
        command += ["-S", "/bin/bash", "-j", "oe", "-o", "/dev/null", "-r", "y"]
        command += ["-q", profile.queue] if profile.queue else []
        command += ["-A", profile.account] if profile.account else []
        command += ["-W", ":".join(("depend=afterok", *job.needs))] if job.needs else []
        return [*command, *profile.qsub, str(job.path)]

    def job_id(self, output: str) -> str:
        return output.split()[-1]

    def read_queue(self) -> Iterator[HeldJob]:
        ids: list[str] = []
        if shutil.which("qselect") is not None:
            ids = ask("qselect", "-u", getpass.getuser()).split()
            if not ids:
                return
        for start in range(0, max(1, len(ids)), IDS_PER_CALL):
            text = ask("qstat", "-f", *ids[start : start + IDS_PER_CALL], accepted=NO_SUCH_JOB)
            yield from filter(None, map(_held, parse_jobs(text)))

    def remove(self, jobs: Sequence[str]) -> None:
        for start in range(0, len(jobs), IDS_PER_CALL):
            ask("qdel", *jobs[start : start + IDS_PER_CALL], accepted=NO_SUCH_JOB)


def parse_jobs(text: str) -> list[dict[str, str]]:
    """Parse ``qstat -f``: attributes of each job by name, its id under ``id``; long values go on after a tab."""
    jobs: list[dict[str, str]] = []
    last = ""
    for line in text.splitlines():
        found = ATTRIBUTE.fullmatch(line)
        if line.startswith("Job Id:"):
            jobs.append({"id": line.removeprefix("Job Id:").strip()})
        elif found and jobs:
            last = found[1]
            jobs[-1].setdefault(last, found[2])
        elif line.startswith("\t") and jobs and last:
            jobs[-1][last] += line[1:]
    return jobs


def _held(job: dict[str, str]) -> HeldJob | None:
    state, name = job.get("job_state", ""), job.get("Job_Name", "")
    if state in RUNNING:
        return HeldJob(job=job["id"], name=name, state="running")
    if state in WAITING:
        return HeldJob(job=job["id"], name=name, state="queued", waits_for=job.get("comment", WAITING[state]))
    return None


def _resources(profile: PbsProfile) -> str:
    if profile.resources is not None:
        return profile.resources
    gpus = f":ngpus={profile.gpus_per_run}" if profile.gpus_per_run else ""
    memory = f":mem={profile.mem_mb}mb" if profile.mem_mb else ""
    return f"select=1:ncpus={profile.cpus}{gpus}{memory}"
