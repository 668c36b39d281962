"""Jobs as plain data: one to be queued, one that the queue holds, and the record of one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from datasets.files import parse_as, read_json, write_json
from launch.executors.slurm.worker import Job


@dataclass(frozen=True, kw_only=True)
class HeldJob:
    """A job that the queue holds."""

    job: str
    name: str
    state: Literal["queued", "running"]
    waits_for: str | None = None
    """Why it has not started, in the scheduler's words."""


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to be queued."""

    name: str
    script: str
    """What its shell runs."""
    path: Path
    """Where the script lies; a description that the scheduler wants beside it has its name and another suffix."""
    needs: tuple[str, ...] = ()
    """Jobs that must have ended well first."""


@dataclass(frozen=True, kw_only=True)
class QueuedRun:
    """A job's record, JSON in the executor's folder; it is written before the job is queued, completed after."""

    run_id: str
    work: Job
    """Its only run is this one."""
    profile: str
    """Digest of the profile."""
    job: str | None = None
    """What the scheduler calls the job; None until it has answered."""

    def write(self, folder: Path) -> Path:
        """Write or complete the record."""
        path = folder / f"{self.run_id}.json"
        write_json(path, asdict(self))
        return path

    @classmethod
    def read(cls, path: Path) -> QueuedRun:
        """Read a record.

        Raises:
            InputError: when it is none.
        """
        return parse_as(cls, read_json(path), where=str(path))
