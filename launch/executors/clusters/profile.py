"""What one run asks a queue for, whatever its scheduler; the keys mean what they mean in SLURM's profile."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from launch.executors.slurm.profile import Count


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True))
class JobProfile:
    """Resources of one run on one node; none enters a run's hash."""

    gpus_per_run: Annotated[int, Field(ge=0)] = 1
    """GPUs of one run, one process for each; 0 trains on the CPU."""
    cpus_per_task: Count = 4
    """Cores of each process."""
    mem_gb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Memory of the run; by default what the cluster gives."""
    time_min: Count = 1440
    """Time limit in minutes, before which the run saves and leaves its node."""
    signal_delay_s: int = 120
    """Time before the limit at which the run is asked to save, in s."""
    max_restarts: Annotated[int, Field(ge=0)] = 100
    """A run that was interrupted so often is stopped."""
    max_tries: Count = 3
    """A run that so often failed the same way without a new checkpoint is stopped; bad input is not tried twice."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Passed to ``cxr train``; auto is cuda where GPUs are asked for: a run that sees none ends with one line."""
    setup: tuple[str, ...] = ()
    """Lines for a login bash (Kubernetes: sh) before the run: modules, environments; one that fails ends the job."""
    on_end: str | None = None
    """Shell line that is started on the node when a run is done or has failed, as in SLURM's profile."""
    python: str | None = None
    """Command that starts Python on the nodes, such as ``apptainer exec cxr.sif python``; by default this Python."""

    def __post_init__(self) -> None:
        """Refuse a warning that would come before the start."""
        if not 0 < self.signal_delay_s < 60 * self.time_min:
            raise ValueError(f"signal_delay_s must lie between 0 and the time limit, {60 * self.time_min} s")

    @property
    def train_device(self) -> Literal["auto", "cpu", "cuda"]:
        """What ``cxr train`` is told."""
        return "cuda" if self.device == "auto" and self.gpus_per_run else self.device

    @property
    def num_processes(self) -> int:
        """Processes of a run."""
        return max(1, self.gpus_per_run)

    @property
    def cpus(self) -> int:
        """Cores of a run."""
        return self.num_processes * self.cpus_per_task

    @property
    def mem_mb(self) -> int | None:
        """Memory of a run in MiB."""
        return None if self.mem_gb is None else round(1024 * self.mem_gb)

    @property
    def digest(self) -> str:
        """Tells profiles apart."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]
