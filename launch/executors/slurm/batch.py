"""The sbatch calls of one submission: arrays, what their tasks wait for, and their order."""

from __future__ import annotations

import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

from harness.runs.folder import RunFolder
from launch.executors.base import QueueError, SubmitRequest
from launch.executors.commands import ask
from launch.executors.prepare import clear_failure, config_text
from launch.executors.slurm.places import ProfilePlace, placed
from launch.executors.slurm.profile import ClusterConfig
from launch.executors.slurm.queue import max_array_size
from launch.executors.slurm.sbatch import queue_jobs
from launch.executors.slurm.stages import (
    Task,
    arrays,
    coarse_dependency,
    exact_dependencies,
    make_stages,
    nice_values,
)
from launch.executors.slurm.start import write_jobs
from launch.executors.slurm.submission import Submission, new_submission
from launch.executors.slurm.worker import Job, JobRun
from launch.grids.grid import GridRun

logger = logging.getLogger(__name__)


class Batch:
    """Queue runs, each at its place."""

    def __init__(
        self,
        folder: Path,
        request: SubmitRequest,
        places: Sequence[ProfilePlace],
        jobs: Mapping[str, str],
        throttled: Mapping[str, Set[str]],
    ) -> None:
        """Find the place of each run; nothing is queued yet.

        Args:
            folder: where the queue's records are kept.
            request: the plan, and what its runs share.
            places: in the order in which they are asked.
            jobs: those that the queue holds already, by run id.
            throttled: numbers of the queue's arrays that ``max_running`` limits together, by partition.

        Raises:
            InputError: when the rule of a place cannot be asked of a run.
        """
        self._folder, self._grid, self._priority = folder, request.grid, request.priority
        self._runs_dir = request.command.runs_dir
        self._throttled = dict(throttled)
        self.jobs = dict(jobs)
        self.places = placed([decision.run for decision in request.plan], places)
        """By run id."""
        self._commands = {
            place: replace(
                request.command, device=place.cluster.train_device, num_threads=place.cluster.threads_per_run
            )
            for place in places
        }

    def command(self, run: GridRun) -> list[str]:
        """Return the command line of a run at its place."""
        return self._commands[self.places[run.run_id]](run)

    def stages(self, runs: Sequence[GridRun]) -> list[list[Task]]:
        """Return how these runs would be queued, beside what is queued already."""
        return make_stages(runs, self.jobs, places=self.places, priority=self._priority)

    def submit(self, runs: Sequence[GridRun]) -> None:
        """Queue these runs, stage after stage, and note their jobs."""
        stages = self.stages(runs)
        most = max_array_size() if stages else 0
        for stage in stages:
            for part in arrays(stage, most):
                self._queue(part)

    def _queue(self, tasks: Sequence[Task]) -> None:
        """Queue one array, and narrow what each of its tasks waits for and how urgent it is."""
        exact, nice = exact_dependencies(tasks, self.jobs), nice_values(tasks, self._priority)
        dependency = None
        if exact:
            dependency = next(iter(exact)) if len(exact) == 1 else coarse_dependency(tasks, self.jobs)
        before = self._ended_before(tasks[0].place.cluster)
        submission = self._sbatch(tasks, _both(dependency, before), min(nice))
        if submission.throttled is not None:
            self._throttled[submission.throttled] = {str(submission.job)}
        for number, task in enumerate(tasks):
            self.jobs.update({run.run_id: str(submission.task_job(number)) for run in task.runs})
        changes: dict[int, list[str]] = defaultdict(list)
        for own, numbers in exact.items() if len(exact) > 1 else ():
            for number in numbers:
                changes[number].append(f"Dependency={_both(own, before)}")
        for number, value in enumerate(nice):
            if value > min(nice):
                changes[number].append(f"Nice={value}")
        _change(submission, changes)

    def _ended_before(self, cluster: ClusterConfig) -> str | None:
        """Return the dependency that keeps the jobs of a partition below ``max_running``: the end of those before."""
        arrays_before = self._throttled.get(cluster.partition or "")
        return ":".join(("afterany", *sorted(arrays_before))) if cluster.max_running and arrays_before else None

    def _sbatch(self, tasks: Sequence[Task], dependency: str | None, nice: int) -> Submission:
        """Call sbatch once, with a record before and after; a call that fails leaves nothing behind."""
        runs, cluster = [run for task in tasks for run in task.runs], tasks[0].place.cluster
        submission = new_submission(self._grid, time.time(), [[run.run_id for run in task.runs] for task in tasks])
        throttled = None if cluster.max_running is None else cluster.partition or ""
        submission = replace(submission, profile=cluster.digest, throttled=throttled)
        folder, record = self._folder / submission.name, self._folder / f"{submission.name}.json"
        try:
            for run in runs:
                clear_failure(RunFolder(self._runs_dir / run.run_id))
            write_jobs(folder, map(self._job, tasks))
            submission.write(record)
            number = queue_jobs(len(tasks), cluster, folder, submission.name, dependency=dependency, nice=nice)
        except Exception:
            record.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        submission = replace(submission, job=number)
        submission.write(record)
        return submission

    def _job(self, task: Task) -> Job:
        names = ("num_ranks", "mps", "time_min", "signal_delay_s", "max_tries", "max_restarts", "on_end", "requeues")
        cluster = task.place.cluster
        runs = tuple(
            JobRun(
                name=run.name,
                folder=f"{self._runs_dir}/{run.run_id}",
                arguments=tuple(self.command(run)[1:]),
                needs=tuple((need.name, f"{self._runs_dir}/{need.run_id}") for need in run.config.needs),
                config=config_text(run),
            )
            for run in task.runs
        )
        gpus = cluster.gpus_of_job
        return Job(runs=runs, gpus=gpus, grid=self._grid, **{name: getattr(cluster, name) for name in names})


def _both(*dependencies: str | None) -> str | None:
    """Return a dependency that is met when all of these are."""
    return ",".join(filter(None, dependencies)) or None


def _change(submission: Submission, changes: Mapping[int, Sequence[str]]) -> None:
    """Change tasks of an array that is queued; where that is refused they keep what the whole array was given."""
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, words in changes.items():
        alike[tuple(words)].append(number)
    for words, numbers in alike.items():
        try:
            jobs = ",".join(f"{submission.task_job(number)}" for number in numbers)
            ask("scontrol", "update", f"JobId={jobs}", *words)
        except QueueError as error:
            message = "%s; runs of %s wait for the whole stage before, and none of them goes first"
            logger.warning(message, error, submission.name)
            return
