"""Say what a site's settings and a profile prevent, and which line of the profile mends it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from launch.doctor.finding import Finding, fail, warn
from launch.doctor.slurm import ask, check_accounting
from launch.executors.slurm.ending import SETUP_FAILED
from launch.executors.slurm.profile import ClusterConfig
from launch.executors.slurm.queue import NEVER, parse_record

AGAIN = "cxr grid watch, or submit again, goes on with such runs"
NODE = re.compile(r"slurmstepd-(\S+): error: ")
"""How SLURM begins what it says of a job on a node."""
SEEN = "cannot be mended by the profile: keep data, runs and this checkout on a file system that the nodes see"


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """Words of a failure, and the key of the profile that it is about."""

    words: str
    """Regular expression."""
    area: str
    key: str
    fix: str
    """What to do with the key's line."""
    case: str | None = None
    """The only run of which the words mean this."""


SYMPTOMS = (
    Symptom(words=re.escape(SETUP_FAILED), area="setup", key="setup", fix="mend the line that failed"),
    Symptom(
        words=r"execve\(\)|No module named|python\S*: (command )?not found|can't open file",
        area="python",
        key="python",
        fix="give a Python that has this package on every node, or keep nodes that lack it out by exclude",
    ),
    Symptom(words=r"do the nodes see", area="folder", key="", fix=SEEN),
    Symptom(
        words=r"sees (no GPU|\d+ of the \d+ GPUs)",
        area="gpu",
        key="gpus_per_run",
        fix="0 trains on the CPU, else its partition or [sbatch] options must give GPUs",
    ),
    Symptom(words=r"see max_restarts", area="restarts", key="max_restarts", fix="allow more restarts"),
    Symptom(words="killed by SIGKILL", area="tries", key="max_tries", fix="allow at least 2", case="killed"),
    Symptom(words="killed by SIGKILL|out of memory", area="memory", key="mem_gb", fix="ask for more memory"),
    Symptom(
        words=NEVER.pattern, area="queue", key="partition", fix="ask for what the partition and your limits allow"
    ),
)


def line_of(profile: Path, key: str) -> str:
    """Return the line of a profile that sets a key, as ``FILE:LINE: text``; else that it has none."""
    try:
        lines = profile.read_text(encoding="utf-8-sig").splitlines()
    except OSError:
        return str(profile)
    for number, line in enumerate(lines, 1):
        if re.match(rf"\s*([\"']?)(?:\w+\.)*{re.escape(key)}\1\s*=", line):
            return f"{profile}:{number}: {line.strip()}"
    return f"{profile} has no line {key} = ..."


def symptom_of(words: str, case: str, profile: Path) -> Finding | None:
    """Return what the failure of a case says about the site or the profile; None when it is about neither."""
    for symptom in SYMPTOMS:
        if re.search(symptom.words, words) and symptom.case in (None, case):
            where = f"{line_of(profile, symptom.key)}; " if symptom.key else ""
            what = re.sub(r"^job \S+ did not start it: ", "", words)  # as all jobs say
            return fail(symptom.area, what, f"{where}{symptom.fix}")
    return None


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return each finding once; those that differ in the node alone become one that names the nodes."""
    nodes: dict[Finding, list[str]] = {}
    for finding in findings:
        said = NODE.match(finding.what)
        of_all = replace(finding, what=finding.what if said is None else finding.what[said.end() :])
        nodes.setdefault(of_all, []).extend([] if said is None else [said[1]])
    return [
        replace(finding, what=f"on {', '.join(sorted(set(found)))}: {finding.what}") if found else finding
        for finding, found in nodes.items()
    ]


def no_requeue(refusal: str, cluster: ClusterConfig, profile: Path) -> Finding:
    """Return what follows when a running job was not taken back, which every job asks for unless the profile forbids
    it."""
    if cluster.no_requeue is not None:
        what = "the profile has jobs leave the queue when they are preempted or meet their time limit"
        return warn("requeue", what, f"{line_of(profile, cluster.no_requeue)}; leave it out, else {AGAIN}")
    what = re.sub(r" for job \S+", "", refusal)
    return warn("requeue", what, f"the site forbids it, and no line of the profile allows it; {AGAIN}")


def no_warning(profile: Path) -> Finding:
    """Return what follows when a run met its time limit without a signal before it."""
    what = "no signal came before the time limit: the run saved at SIGTERM or not at all, and left the queue"
    return warn("time limit", what, f"{line_of(profile, 'signal_delay_s')}; a longer time may help, else {AGAIN}")


def check_site(cluster: ClusterConfig, profile: Path) -> Iterator[Finding]:
    """Yield what the cluster's settings mean for preempted runs, and whether there is accounting."""
    accounting = check_accounting()
    if accounting.level != "ok":
        yield replace(accounting, area="accounting")
    partition, _ = ask("scontrol", "show", "partition", "--oneliner", *filter(None, [cluster.partition]))
    config, _ = ask("scontrol", "show", "config")
    settings = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", config or "", re.MULTILINE))
    for record in map(parse_record, (partition or "").splitlines()):
        if cluster.partition or record.get("Default") == "YES":
            yield from _check_preemption(record, settings, profile)


def _check_preemption(record: dict[str, str], settings: dict[str, str], profile: Path) -> Iterator[Finding]:
    name, mode = record.get("PartitionName", ""), record.get("PreemptMode", "OFF")
    if settings.get("PreemptType", "preempt/none") == "preempt/none" or mode in ("OFF", "GANG"):
        return
    if mode == "CANCEL":
        what = f"partition {name} cancels preempted jobs, and queues them not again"
        yield warn("preemption", what, f"{line_of(profile, 'partition')}; another partition, or {AGAIN}")
    elif mode == "SUSPEND":
        yield warn("preemption", f"partition {name} suspends preempted jobs", "nothing: they go on where they were")
    told = "send_user_signal" in settings.get("PreemptParameters", "")
    if mode in ("CANCEL", "REQUEUE") and record.get("GraceTime", "0") == "0" and not told:
        wait = settings.get("KillWait", "30 sec")
        what = f"no signal before preemption in partition {name}: SIGTERM comes, and SIGKILL {wait} later"
        fix = f"{line_of(profile, 'partition')}; one with a GraceTime, if a run cannot save in that time"
        yield warn("preemption", what, fix)
