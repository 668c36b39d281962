"""What the runs of this machine share, from a TOML file in place of options."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from launch.executors.base import SubmitRequest
from launch.executors.slurm.profile import Count, read_profile


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True))
class LocalProfile:
    """The options of ``cxr grid submit`` for this machine, under their names; none enters a run's hash."""

    slots: Count | None = None
    """Runs at once; by default one for each GPU, else two on the CPU."""
    runs_per_gpu: Count | None = None
    """Runs at once on each GPU."""
    mps: bool = False
    """Whether runs that share a GPU compute at the same time by NVIDIA's Multi-Process Service."""
    threads_per_run: Count | None = None
    """CPU threads of one run; by default the cores shared out over the slots."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    on_end: str | None = None
    """Shell line that is started when a run is done or has failed."""

    def __post_init__(self) -> None:
        """Refuse two ways of counting."""
        if self.slots is not None and self.runs_per_gpu is not None:
            raise ValueError("slots counts the runs of all GPUs together, runs_per_gpu of each: give one of them")


def with_profile(request: SubmitRequest) -> SubmitRequest:
    """The request with what its profile says, if it has one, and its own options do not.

    Raises:
        InputError: when the file is absent, is not TOML, or has an unknown key or a wrong value.
    """
    if request.profile is None:
        return request
    profile, command = read_profile(request.profile, LocalProfile), request.command
    counted = request.slots is not None or request.runs_per_gpu is not None
    return replace(
        request,
        slots=request.slots if counted else profile.slots,
        runs_per_gpu=request.runs_per_gpu if counted else profile.runs_per_gpu,
        mps=request.mps or profile.mps,
        on_end=request.on_end or profile.on_end,
        command=replace(
            command,
            num_threads=command.num_threads or profile.threads_per_run,
            device=profile.device if command.device == "auto" else command.device,
        ),
    )
