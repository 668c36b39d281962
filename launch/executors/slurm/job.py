"""Plain data of a job, pickled at submission.

The pickle holds paths and arguments alone: what a run is, and how far it got, is read from its folder at every start.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    """Runs that share a GPU, or one run over all the job's processes."""

    runs: tuple[JobRun, ...]
    num_ranks: int
    """Processes that the job must have."""
    time_min: int
    signal_delay_s: int
    max_tries: int
    max_restarts: int
