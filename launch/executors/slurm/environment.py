"""Environment variables of SLURM: those that describe a process's job, and those that must not reach a command."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass

COMMANDS = ("SLURM", "SLURMD", "SRUN", "SBATCH", "SQUEUE", "SCANCEL", "SACCT", "SCONTROL", "SUBMITIT")
COMMAND_PREFIXES = tuple(f"{command}_" for command in COMMANDS)
RANK_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
KEPT_VARIABLES = ("SLURM_CONF", "SUBMITIT_PREEMPT_SIGNAL")
"""They say which cluster this is, not which job."""


@dataclass(frozen=True, kw_only=True)
class JobStart:
    """What SLURM says to this process about its job."""

    job: str
    """``12``, or ``12_3`` in an array; empty outside of a job."""
    num_tasks: int
    """Number of processes of the job."""
    rank: int
    """Number of this process among them."""
    restart: int
    """How often SLURM has queued the job again."""
    node: str

    @classmethod
    def here(cls) -> JobStart:
        """Return what the environment says."""
        said = os.environ.get
        array, task = said("SLURM_ARRAY_JOB_ID"), said("SLURM_ARRAY_TASK_ID")
        return cls(
            job=f"{array}_{task}" if array and task else said("SLURM_JOB_ID", ""),
            num_tasks=int(said("SLURM_NTASKS", "1")),
            rank=int(said("SLURM_PROCID", "0")),
            restart=int(said("SLURM_RESTART_COUNT", "0")),
            node=said("SLURMD_NODENAME") or socket.gethostname(),
        )


def adopt_srun_ranks(environment: MutableMapping[str, str]) -> None:
    """Set the variables by which torch finds the other tasks of this srun step, unless a launcher has set them."""
    said = environment.get
    tasks = int(said("SLURM_STEP_NUM_TASKS", "1"))
    if tasks == 1 or "WORLD_SIZE" in environment:
        return
    nodes = said("SLURM_STEP_NODELIST", said("SLURM_NODELIST", "localhost"))
    job, step = int(said("SLURM_JOB_ID", "0")), int(said("SLURM_STEP_ID", "0"))
    per_node = said("SLURM_STEP_TASKS_PER_NODE", str(tasks))
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["LOCAL_RANK"] = environment["SLURM_LOCALID"]
    environment["WORLD_SIZE"] = str(tasks)
    environment["LOCAL_WORLD_SIZE"] = str(tasks_on_node(per_node, int(said("SLURM_NODEID", "0"))))
    environment.setdefault("MASTER_ADDR", first_host(nodes))
    environment.setdefault("MASTER_PORT", str(20000 + (job * 7 + step) % 20000))


def first_host(nodes: str) -> str:
    """Return the first host of SLURM's short form: ``gpu[003-007,9],x`` gives gpu003."""
    head = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\])?", nodes)
    return nodes if head is None else head[1] + (head[2] or "")


def tasks_on_node(per_node: str, node: int) -> int:
    """Return the tasks on one node from SLURM's short form: of ``4(x2),3`` nodes 0 and 1 have 4, node 2 has 3."""
    counts: list[int] = []
    for part in per_node.split(","):
        count, _, times = part.partition("(x")
        counts += [int(count)] * int(times.rstrip(")") or 1)
    return counts[min(node, len(counts) - 1)]


def command_environment() -> dict[str, str]:
    """Return this process's environment without what would change the meaning of a SLURM command.

    An enclosing job or launcher leaves variables that sbatch hands on to new jobs; a user's shell may hold filters
    such as SQUEUE_STATES, or another cluster's name in SLURM_CLUSTERS.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name in KEPT_VARIABLES or not (name.startswith(COMMAND_PREFIXES) or name in RANK_VARIABLES)
    }


@contextmanager
def clean_environment() -> Iterator[None]:
    """Give this process ``command_environment`` meanwhile, for libraries that start SLURM's commands themselves."""
    kept = command_environment()
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name not in kept}
    try:
        yield
    finally:
        os.environ.update(hidden)
