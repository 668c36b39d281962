"""Check that SLURM's commands answer, and whether a run that asks for what a profile says could ever start.

Nothing is submitted, and a host without any of the commands is well.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from datasets.errors import InputError
from launch.doctor.finding import Finding, fail, ok, warn
from launch.executors import commands
from launch.executors.base import UnreachableError
from launch.executors.slurm.places import load_places
from launch.executors.slurm.profile import ClusterConfig
from launch.executors.slurm.sbatch import refuse_what_no_node_has, render

COMMANDS = ("sbatch", "squeue", "sinfo", "scontrol", "scancel", "srun")
OLDEST = (20, 11)
TIMEOUT_S = 10.0
AREA = "profile"


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


def check_profile(path: Path) -> Iterator[Finding]:
    """The profile itself; of each place partition, time limit, features, nodes, and what sbatch says to its job."""
    try:
        places = load_places(path)
    except InputError as error:
        yield fail(AREA, str(error), "launch/executors/slurm/example.toml lists all keys")
        return
    found, why = ask("sinfo", "--noheader", "--format=%R|%a|%l")
    if found is None:
        yield fail(AREA, f"{path} cannot be checked here ({why})", "ask on a host of the cluster")
        return
    rows = [line.split("|") for line in found.splitlines() if line.count("|") == 2]
    findings = []
    for place in places:
        cluster, its = place.cluster, "" if place.rule is None else f"{place.name}: "
        checks = (_check_partition(cluster, rows), _check_features(cluster), _check_nodes(cluster))
        last = (_check_with_sbatch(cluster), _check_requeue(cluster))
        found_here = [finding for check in (*checks, *last) for finding in check]
        findings += [replace(finding, what=its + finding.what) for finding in found_here]
    yield from findings
    if not any(finding.level == "fail" for finding in findings):
        yield ok(AREA, f"{path}: its partition, limits and nodes fit, and sbatch would take its jobs")


def _check_partition(cluster: ClusterConfig, rows: list[list[str]]) -> Iterator[Finding]:
    """The partitions that are asked for, by rows of name, availability and time limit."""
    limits = {name: (state, limit) for name, state, limit in rows}
    for name in (cluster.partition or "").split(",") if cluster.partition else ():
        if name not in limits:
            yield fail(AREA, f"partition = {name!r} is none of {', '.join(limits)}", "name one of these")
            continue
        state, limit = limits[name]
        if state != "up":
            yield warn(AREA, f"partition {name} is {state}", "jobs wait until it is up; ask its administrators")
        minutes = limit_minutes(limit)
        if minutes is not None and cluster.time_min > minutes:
            what = f"time_min = {cluster.time_min} is above the limit of partition {name}, {limit}"
            yield fail(AREA, what, f"time_min = {minutes}: at the limit a run saves, is queued again and goes on")


def limit_minutes(text: str) -> int | None:
    """Minutes in SLURM's form of a time limit, as ``1-12:00:00`` or ``30:00``; None for no limit."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if match is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return 1440 * days + 60 * hours + minutes


def _check_features(cluster: ClusterConfig) -> Iterator[Finding]:
    """The features of ``constraint``, each of which some node must have."""
    if cluster.constraint is None:
        return
    partition = [f"--partition={cluster.partition}"] if cluster.partition else []
    found, _ = ask("sinfo", "--noheader", "--format=%f", *partition)
    known = set(re.findall(r"[^\s,]+", (found or "").replace("(null)", "")))
    for feature in re.findall(r"[A-Za-z_][\w.-]*", cluster.constraint):
        if found is not None and feature not in known:
            nodes = f"features are {', '.join(sorted(known))}" if known else "nodes have no features"
            what = f"constraint = {cluster.constraint!r}: no node of the partition has {feature}; {nodes}"
            yield fail(AREA, what, "leave constraint out, or name features that there are")


def _check_nodes(cluster: ClusterConfig) -> Iterator[Finding]:
    """Cores, memory and GPUs of the partition's nodes."""
    try:
        refuse_what_no_node_has(cluster)
    except InputError as error:
        fix = "ask for less by cpus_per_task, mem_gb, gpus_per_run or nodes, or name another partition"
        yield fail(AREA, str(error), fix)


def _check_with_sbatch(cluster: ClusterConfig) -> Iterator[Finding]:
    """What ``sbatch --test-only`` says to the job: account, QOS and limits as the controller knows them."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "job.sh"
        script.write_text(render(1, cluster, Path(folder), "cxr-doctor"), encoding="utf-8")
        answer, why = ask("sbatch", "--test-only", str(script))
    if answer is None:
        words = why.removeprefix("sbatch: ").removeprefix("allocation failure: ")
        yield fail(AREA, f"sbatch would refuse its jobs: {words}", "mend the key of the profile that this is about")


def _check_requeue(cluster: ClusterConfig) -> Iterator[Finding]:
    """Whether the profile keeps jobs from going back into the queue."""
    if cluster.no_requeue is not None:
        what = f"sbatch.{cluster.no_requeue}: a run that is preempted or meets its time limit leaves the queue"
        yield warn(AREA, what, "leave it out, else cxr grid watch, or submit again, goes on with such runs")
