"""Check that SLURM's commands are there and answer; a host without any is well."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

from launch.doctor.finding import Finding, fail, ok, warn
from launch.executors import commands
from launch.executors.base import UnreachableError

COMMANDS = ("sbatch", "squeue", "sinfo", "scontrol", "scancel", "srun")
OLDEST = (20, 11)
TIMEOUT_S = 10.0


def check_slurm() -> Iterator[Finding]:
    """The commands, the version, the queue, the partitions, the accounting."""
    there = [name for name in COMMANDS if shutil.which(name) is not None]
    if not there:
        yield ok("slurm", "no SLURM on this host; cxr grid submit runs on this machine")
        return
    missing = [name for name in COMMANDS if name not in there]
    if missing:
        yield fail("slurm", f"{', '.join(missing)} not found, though {', '.join(there)} are", "load SLURM's module")
        return
    jobs, why = ask("squeue", "--noheader", "--me")
    if jobs is None and "configuration source" in why:
        fix = "load the cluster's module or set SLURM_CONF; cxr grid submit without --cluster runs on this machine"
        yield warn("slurm", "its commands are installed, but belong to no cluster", fix)
    elif jobs is None:
        yield fail("slurm", f"squeue does not answer ({why})", "try 'sinfo'; the controller may be down")
    else:
        yield _check_version()
        yield ok("slurm", f"the queue answers; {len(jobs.splitlines())} jobs of yours")
        yield _check_partitions()
        yield check_accounting()


def _check_version() -> Finding:
    found, why = ask("sinfo", "--version")
    match = re.search(r"(\d+)\.(\d+)", found or "")
    if match is None:
        return warn("slurm", f"sinfo --version says {found or why!r}", "tell the cluster's administrators")
    if (int(match[1]), int(match[2])) < OLDEST:
        return warn("slurm", f"{found}; tried with 22.05", "job arrays may behave otherwise: begin with a small grid")
    return ok("slurm", str(found))


def _check_partitions() -> Finding:
    found, why = ask("sinfo", "--noheader", "--format=%P %a %D %G")
    if not found:
        fix = "ask the cluster's administrators which one you may use"
        return warn("slurm", f"no partitions ({why or 'it names none'})", fix)
    rows = [line.split() for line in found.splitlines()]
    shown = [f"{row[0]} ({row[2]} nodes, {row[3].replace('(null)', 'no GPU')})" for row in rows if len(row) > 3]
    return ok("slurm", f"partitions: {', '.join(shown)}")


def check_accounting() -> Finding:
    """Whether SLURM keeps records of past jobs."""
    fix = "nothing to do: states are read from run folders and squeue"
    if shutil.which("sacct") is None:
        return warn("slurm", "no sacct", fix)
    found, why = ask("sacct", "--noheader", "--format=JobID")
    if found is None:
        return warn("slurm", f"accounting is off ({why})", f"{fix}; past jobs' memory and time are not to be had")
    return ok("slurm", "accounting answers")


def ask(*command: str) -> tuple[str | None, str]:
    """What a command printed, or None and in one line why it failed."""
    try:
        return commands.ask(*command, timeout_s=TIMEOUT_S).strip(), ""
    except UnreachableError as error:
        return None, str(error)
