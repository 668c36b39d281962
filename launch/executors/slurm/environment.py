"""Environment variables of SLURM: those that describe a process's job, and those that must not reach a command."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field

COMMAND_PREFIXES = (
    "SLURM_",
    "SLURMD_",
    "SRUN_",
    "SBATCH_",
    "SQUEUE_",
    "SCANCEL_",
    "SACCT_",
    "SCONTROL_",
    "SUBMITIT_",
)
RANK_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
KEPT_VARIABLES = ("SLURM_CONF", "SUBMITIT_PREEMPT_SIGNAL")
"""They say which cluster this is, not which job."""


@dataclass(frozen=True)
class SlurmEnvironment:
    """What SLURM says to a process about its job; by default to this process."""

    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def job_id(self) -> str:
        """``12``, or ``12_3`` in an array; empty outside of a job."""
        array, task = self.variables.get("SLURM_ARRAY_JOB_ID"), self.variables.get("SLURM_ARRAY_TASK_ID")
        return f"{array}_{task}" if array and task else self.variables.get("SLURM_JOB_ID", "")

    @property
    def num_tasks(self) -> int:
        """Number of processes of the job."""
        return int(self.variables.get("SLURM_NTASKS", "1"))

    @property
    def rank(self) -> int:
        """Number of this process among them."""
        return int(self.variables.get("SLURM_PROCID", "0"))

    @property
    def restart(self) -> int:
        """How often SLURM has queued the job again."""
        return int(self.variables.get("SLURM_RESTART_COUNT", "0"))

    @property
    def node(self) -> str:
        """Name of this node."""
        return self.variables.get("SLURMD_NODENAME") or socket.gethostname()

    def torch_variables(self) -> dict[str, str]:
        """Return the variables by which torch finds the other tasks of the same srun step; none for a single task."""
        tasks = int(self.variables.get("SLURM_STEP_NUM_TASKS", "1"))
        if tasks == 1:
            return {}
        nodes = self.variables.get("SLURM_STEP_NODELIST", self.variables.get("SLURM_NODELIST", "localhost"))
        job, step = (int(self.variables.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
        per_node = self.variables.get("SLURM_STEP_TASKS_PER_NODE", str(tasks))
        return {
            "RANK": self.variables["SLURM_PROCID"],
            "LOCAL_RANK": self.variables["SLURM_LOCALID"],
            "WORLD_SIZE": str(tasks),
            "LOCAL_WORLD_SIZE": str(tasks_on_node(per_node, int(self.variables.get("SLURM_NODEID", "0")))),
            "MASTER_ADDR": self.variables.get("MASTER_ADDR", first_host(nodes)),
            "MASTER_PORT": self.variables.get("MASTER_PORT", str(20000 + (job * 7 + step) % 20000)),
        }


def adopt_srun_ranks(environment: MutableMapping[str, str]) -> None:
    """Set torch's variables from those of srun, unless a launcher has set them already."""
    if "WORLD_SIZE" not in environment:
        environment.update(SlurmEnvironment(environment).torch_variables())


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
