"""Check that SLURM's commands are there and answer; a host without any is well."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

from launch.doctor.finding import Finding, fail, ok, warn

COMMANDS = ("sbatch", "squeue", "sinfo", "scontrol", "scancel", "srun")
TIMEOUT_S = 10.0
OLDEST = (20, 11)


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
    done = _ask("squeue", "--noheader", "--me")
    if isinstance(done, str) and "configuration source" in done:
        fix = "load the cluster's module or set SLURM_CONF; cxr grid submit without --cluster runs on this machine"
        yield warn("slurm", "its commands are installed, but belong to no cluster", fix)
        return
    if isinstance(done, str):
        yield fail("slurm", f"squeue does not answer ({done})", "try 'sinfo'; the controller may be down")
        return
    yield _check_version()
    yield ok("slurm", f"the queue answers; {len(done.stdout.splitlines())} jobs of yours")
    yield _check_partitions()
    yield _check_accounting()


def _check_version() -> Finding:
    done = _ask("sinfo", "--version")
    text = done if isinstance(done, str) else done.stdout.strip()
    match = re.search(r"(\d+)\.(\d+)", text)
    if match is None:
        return warn("slurm", f"sinfo --version says {text!r}", "tell the cluster's administrators")
    if (int(match[1]), int(match[2])) < OLDEST:
        return warn("slurm", f"{text}; tried with 22.05", "job arrays may behave otherwise: begin with a small grid")
    return ok("slurm", text)


def _check_partitions() -> Finding:
    done = _ask("sinfo", "--noheader", "--format=%P %a %D %G")
    if isinstance(done, str) or not done.stdout.strip():
        why = done if isinstance(done, str) else "it names none"
        return warn("slurm", f"no partitions ({why})", "ask the cluster's administrators which one you may use")
    rows = [line.split() for line in done.stdout.splitlines()]
    shown = ", ".join(
        f"{row[0]} ({row[2]} nodes, {row[3].replace('(null)', 'no GPU')})" for row in rows if len(row) > 3
    )
    return ok("slurm", f"partitions: {shown}")


def _check_accounting() -> Finding:
    if shutil.which("sacct") is None:
        return warn("slurm", "no sacct", "nothing to do: states are read from run folders and squeue")
    done = _ask("sacct", "--noheader", "--format=JobID")
    if isinstance(done, str):
        fix = (
            "nothing to do: states are read from run folders and squeue; past jobs' memory and time are not to be had"
        )
        return warn("slurm", f"accounting is off ({done})", fix)
    return ok("slurm", "accounting answers")


def _ask(*command: str) -> subprocess.CompletedProcess[str] | str:
    """What a command printed, or in one line why it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {TIMEOUT_S:.0f} s"
    except OSError as error:
        return str(error.strerror)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return lines[-1] if lines else f"exit status {done.returncode}"
    return done
