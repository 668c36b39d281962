"""Cluster profile: the resources that one run asks SLURM for, read from a TOML file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from datasets.errors import InputError
from datasets.files import read_toml
from harness.config.checks import OMIT_DEFAULT
from launch.toml import check_keys

RESERVED = {
    **dict.fromkeys(("array", "dependency", "job-name", "open-mode", "output", "error"), "is set by the harness"),
    **dict.fromkeys(("time", "signal"), "set it by the profile's keys time_min and signal_delay_s"),
    **dict.fromkeys(("nodes", "ntasks-per-node"), "set it by the profile's keys nodes and gpus_per_run"),
}
"""Options of sbatch that a profile may not set beside the harness, and why."""

REQUEUE = {"requeue": True, "no-requeue": False, "no_requeue": False}
"""Options of sbatch that say whether a job may be queued again, with the value by which it may."""

Profile = TypeVar("Profile")
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True))
class ClusterConfig:
    """Resources of one run and how the queue is asked for them, as in ``example.toml``; none enters a run's hash."""

    nodes: Count = 1
    """Nodes of one run."""
    gpus_per_run: Annotated[int, Field(ge=0)] = 1
    """GPUs of one run over all its nodes, one process for each; 0 trains on the CPU, one process a node."""
    runs_per_gpu: Count = 1
    """Runs that share one GPU at the same time, where runs of 1k or 5k images do not fill it."""
    runs_per_job: Count | None = None
    """Runs that one job computes at the same time, ``runs_per_gpu`` on each of its GPUs, for clusters that give whole
    nodes; by default those of one GPU."""
    mps: bool = False
    """Let the runs that share a GPU compute at the same time by NVIDIA's Multi-Process Service, which each job starts
    and stops."""
    cpus_per_task: Count = 4
    """Cores of each process, shared by the runs that share its GPU; a job of several GPUs gets as many for each."""
    mem_gb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Memory of each node; by default what the cluster gives."""
    time_min: Count = 1440
    """Time limit in minutes; a run that reaches it saves, is queued again and goes on."""
    signal_delay_s: int = 120
    """Time before the limit at which the run is asked to save, in s."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    wckey: str | None = None
    exclude: str | None = None
    """Nodes to avoid."""
    array_parallelism: Count = 256
    """Jobs of one array that run at once."""
    max_running: Count | None = dataclasses.field(default=None, metadata=OMIT_DEFAULT)
    """Jobs of all arrays in the partition that run at once: an array then waits for the end of the one before."""
    max_nice: Annotated[int, Field(ge=0)] = dataclasses.field(default=0, metadata=OMIT_DEFAULT)
    """Nice value of the runs with the shortest chain of runs after them; that of the longest chain is 0."""
    max_restarts: Annotated[int, Field(ge=0)] = 100
    """A run that went back into the queue so often, after time limits and preemptions, is stopped."""
    max_tries: Count = 3
    """A run that so often failed the same way, or was killed or met its time limit without a new checkpoint, is
    stopped; bad input is not tried twice."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Passed to ``cxr train``; auto is cuda where GPUs are asked for: a run that sees none ends with one line."""
    setup: tuple[str, ...] = ()
    """Shell lines before the run: modules, environments; one that fails ends the job."""
    on_end: str | None = None
    """Shell line that is started on the node when a run is done or has failed, with CXR_RUN_ID, CXR_RUN_NAME,
    CXR_RUN_STATE (done, failed), CXR_RUN_ERROR, CXR_RUN_DIR, CXR_GRID and CXR_JOB in its environment."""
    python: str | None = None
    """Command that starts Python on the nodes, such as ``apptainer exec cxr.sif python``; by default this Python."""
    sbatch: dict[str, str | int | bool] = dataclasses.field(default_factory=dict)
    """Any other option of sbatch, a table: ``reservation = "night"`` becomes ``--reservation=night``."""

    def __post_init__(self) -> None:
        """Refuse values that SLURM would refuse late, or ignore."""
        if self.gpus_per_run % self.nodes:
            raise ValueError(f"gpus_per_run = {self.gpus_per_run} must be a multiple of nodes = {self.nodes}")
        if self.runs_per_gpu > 1 and (self.gpus_per_run != 1 or self.nodes != 1):
            raise ValueError("runs_per_gpu above 1 needs gpus_per_run = 1 and nodes = 1")
        if self.runs_per_job is not None and (self.gpus_per_run > 1 or self.nodes != 1):
            raise ValueError("runs_per_job needs gpus_per_run = 1, or 0 on the CPU, and nodes = 1")
        if self.runs_in_job % self.runs_per_gpu:
            raise ValueError(
                f"runs_per_job = {self.runs_in_job} must be a multiple of runs_per_gpu = {self.runs_per_gpu}"
            )
        if self.mps and (self.runs_per_gpu == 1 or not self.gpus_per_run):
            raise ValueError("mps is for runs that share a GPU: it needs runs_per_gpu above 1")
        if self.runs_per_gpu > self.cpus_per_task:
            raise ValueError("runs_per_gpu must not exceed cpus_per_task: each run needs a core")
        if not 0 < self.signal_delay_s < 60 * self.time_min:
            raise ValueError(f"signal_delay_s must lie between 0 and the time limit, {60 * self.time_min} s")
        if self.max_nice and "nice" in self.sbatch:
            raise ValueError("sbatch.nice: is set by max_nice; leave one of them out")
        reserved = sorted({key.replace("_", "-") for key in self.sbatch} & set(RESERVED))
        if reserved:
            raise ValueError(f"sbatch.{reserved[0]}: {RESERVED[reserved[0]]}")

    @property
    def requeues(self) -> bool:
        """Whether jobs may go back into the queue."""
        return self.no_requeue is None

    @property
    def no_requeue(self) -> str | None:
        """The key of the table sbatch that forbids it, if there is one."""
        return next((key for key, allowing in REQUEUE.items() if self.sbatch.get(key, allowing) != allowing), None)

    @property
    def train_device(self) -> Literal["auto", "cpu", "cuda"]:
        """What ``cxr train`` is told."""
        return "cuda" if self.device == "auto" and self.gpus_per_run else self.device

    @property
    def digest(self) -> str:
        """Tells profiles apart; a key that came later enters it only where it is set."""
        kept = [
            f"{field.name}={value!r}"
            for field in dataclasses.fields(self)
            for value in [getattr(self, field.name)]
            if not (field.metadata.get("omit_default") and value == field.default)
        ]
        return hashlib.sha256(f"ClusterConfig({', '.join(kept)})".encode()).hexdigest()[:16]

    @property
    def tasks_per_node(self) -> int:
        """Processes of a run on each of its nodes."""
        return max(1, self.gpus_per_run // self.nodes)

    @property
    def num_ranks(self) -> int:
        """Processes of a run."""
        return self.nodes * self.tasks_per_node

    @property
    def runs_in_job(self) -> int:
        """Runs of one job."""
        return self.runs_per_job or self.runs_per_gpu

    @property
    def parts_of_job(self) -> int:
        """How many times a job has what one run, or the runs that share a GPU, ask for."""
        return self.runs_in_job // self.runs_per_gpu

    @property
    def gpus_of_job(self) -> int:
        """GPUs of a job over all its nodes."""
        return self.gpus_per_run * self.parts_of_job

    @property
    def cpus_of_task(self) -> int:
        """Cores of each process of a job."""
        return self.cpus_per_task * self.parts_of_job

    @property
    def threads_per_run(self) -> int:
        """Cores of each process of a run."""
        return self.cpus_per_task // self.runs_per_gpu


def load_profile(path: Path) -> ClusterConfig:
    """Read SLURM's profile without its places (``places.load_places``); see ``read_profile``."""
    values = read_toml(path, "--cluster")
    values.pop("place", None)
    return parse_profile(values, ClusterConfig, str(path))


def read_profile(path: Path, kind: type[Profile]) -> Profile:
    """Read a profile, a pydantic dataclass of this kind, from a TOML file.

    Raises:
        InputError: when the file is absent, is not TOML, has places, or an unknown key or a wrong value.
    """
    values = read_toml(path, "--cluster")
    if "place" in values:
        advice = "submit each part by --only with a profile of its own"
        raise InputError(f"{path}: [[place]] is for profiles of --executor slurm alone; {advice}")
    return parse_profile(values, kind, str(path))


def parse_profile(values: Mapping[str, Any], kind: type[Profile], where: str) -> Profile:
    """Check the keys and values of a profile; ``where`` begins what is said of a wrong one.

    Raises:
        InputError: for an unknown key or a wrong value.
    """
    check_keys(values, [field.name for field in dataclasses.fields(kind)], where)  # type: ignore[arg-type]
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        message += "; minutes, such as 1440 for 1-00:00:00" if key == "time_min" else ""
        raise InputError(f"{where}: {key + ': ' if key else ''}{message}") from None
