"""Record what was handed to the queue, in JSON files that outlive every shell.

A file is written before ``sbatch`` and completed after it. Its name is the job's name, so ``squeue`` knows the jobs
even when the submitting host died between the two.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from datasets.errors import InputError
from datasets.files import read_json, write_json
from launch.executors.base import UnreachableError


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One sbatch call: a job, or a job array of which task i computes the runs ``tasks[i]``."""

    name: str
    """Name of the job."""
    submitted: float
    """Unix time in s."""
    tasks: tuple[tuple[str, ...], ...]
    """Ids of the runs of each task."""
    profile: str | None = None
    """Digest of the cluster profile; None for submissions from before there was one."""
    throttled: str | None = None
    """The partition, ``""`` for the cluster's default one, whose jobs the profile's ``max_running`` limits."""
    job: str | None = None
    """Number that SLURM gave; None until sbatch has answered."""

    def write(self, path: Path) -> None:
        """Write or complete its file."""
        write_json(path, asdict(self))

    def task_job(self, task: int) -> str | None:
        """Return the id by which SLURM knows one task: submitit makes an array only of two tasks and more."""
        if self.job is None:
            return None
        return self.job if len(self.tasks) == 1 else f"{self.job}_{task}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run was last queued."""

    job: str
    """The id by which SLURM knows the task."""
    name: str
    """Of the submission."""
    is_shared: bool
    """Whether the task computes other runs too."""
    profile: str | None
    throttled: str | None = None


def new_submission(grid: str, now: float, tasks: Sequence[Sequence[str]]) -> Submission:
    """Return a submission with a name of its own, which holds the grid's name or its file's stem."""
    stem = re.sub(r"[^A-Za-z0-9_.]", "_", Path(grid).stem if grid.endswith((".py", ".toml")) else grid)
    name = f"cxr-{stem}-{secrets.token_hex(4)}"
    return Submission(name=name, submitted=now, tasks=tuple(tuple(task) for task in tasks))


def read_submissions(folder: Path) -> list[Submission]:
    """Return everything handed to the queue, oldest first.

    Raises:
        UnreachableError: when a file is not a submission, so that nobody can tell what the queue holds.
    """
    found = []
    for path in folder.glob("cxr-*.json"):
        try:
            values = read_json(path)
            tasks = tuple(tuple(task) for task in values.pop("tasks"))
            found.append(Submission(**values, tasks=tasks))
        except (InputError, AttributeError, KeyError, TypeError):
            advice = f"once squeue shows no job of the name {path.stem}, remove it"
            raise UnreachableError(f"{path}: not a submission; {advice}") from None
    return sorted(found, key=lambda submission: (submission.submitted, submission.name))


def places(submissions: Iterable[Submission], numbers: Mapping[str, str]) -> dict[str, Place]:
    """Return the last place of each run, by run id; a submission that SLURM never knew is none.

    ``numbers`` are the queue's by name of the job, for submissions whose sbatch call was cut off.
    """
    found = {}
    for made in submissions:
        submission = made if made.job is not None else replace(made, job=numbers.get(made.name))
        for task, run_ids in enumerate(submission.tasks):
            job = submission.task_job(task)
            if job is not None:
                place = Place(
                    job=job,
                    name=made.name,
                    is_shared=len(run_ids) > 1,
                    profile=made.profile,
                    throttled=made.throttled,
                )
                found.update(dict.fromkeys(run_ids, place))
    return found
