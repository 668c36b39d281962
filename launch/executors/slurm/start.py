"""Keep the jobs of a submission in one file, and start one of them on its node: ``python -m ... FOLDER``.

A queued run has no file of its own: its folder, its config.json and the pickle by which submitit starts it are
written by its job.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from datasets.errors import InputError
from datasets.files import parse_as, replacing
from launch.executors.slurm.entry import JobEntry
from launch.executors.slurm.worker import Job

JOBS_NAME = "jobs.jsonl"
MAX_NUM_TIMEOUT = 1_000_000
"""submitit guesses time-outs from the elapsed time; restarts are counted by the job itself."""


def write_jobs(folder: Path, jobs: Iterable[Job]) -> None:
    """Write the jobs of a submission into its folder, one a line, in the order of the array's tasks."""
    with replacing(folder / JOBS_NAME) as partial, partial.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({**vars(job), "runs": [vars(run) for run in job.runs]}) + "\n" for job in jobs)


def read_job(folder: Path, task: int) -> Job:
    """Return one job.

    Raises:
        InputError: when the file is absent or damaged.
    """
    path = folder / JOBS_NAME
    try:
        with path.open(encoding="utf-8") as lines:
            values = json.loads(next(islice(lines, task, None), ""))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no job {task} ({error}); cxr grid submit queues its runs again") from None
    return parse_as(Job, values, where=f"{path}: job {task}")


def main(arguments: list[str]) -> None:
    """Start this task's job; submitit finds its pickle as if the submission had left it."""
    from submitit import JobEnvironment
    from submitit.core.submission import process_job
    from submitit.core.utils import DelayedSubmission

    folder = os.environ["SUBMITIT_FOLDER"] = arguments[0]
    environment = JobEnvironment()
    pickle = environment.paths.submitted_pickle
    if not pickle.exists():
        job = read_job(Path(folder), int(environment.array_task_id or 0))
        delayed = DelayedSubmission(JobEntry(job))
        delayed.set_timeout(job.time_min, MAX_NUM_TIMEOUT)
        with replacing(pickle) as partial:
            delayed.dump(partial)
    process_job(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
