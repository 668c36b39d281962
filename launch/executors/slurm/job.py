"""What a job computes: plain data is pickled at submission; on a node it starts ``cxr train`` and sees it through.

The pickle holds paths and arguments alone, so what a run is, and how far, is read from its folder at every start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """One run of a job."""

    name: str
    kind: str
    folder: str
    """The run's folder, absolute."""
    arguments: tuple[str, ...]
    """What follows the Python interpreter in the command of the run."""
    needs: tuple[tuple[str, str], ...]
    """Name and folder of each run that must be done first."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Runs that share a GPU, or one run over all the job's processes. Every process of the job calls it."""

    runs: tuple[JobRun, ...]
    num_ranks: int
    """Processes that the job must have."""
    time_min: int
    signal_delay_s: int
    max_tries: int
    max_restarts: int

    def __call__(self) -> list[str]:
        """Names of the runs that were brought to their end.

        Raises:
            JobFailedError: when a run failed.
        """
        from launch.executors.slurm.attempt import carry_out

        return carry_out(self)

    def checkpoint(self) -> Any:
        """For submitit, should a signal come before the job handles its own: the same job, since state is on disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
