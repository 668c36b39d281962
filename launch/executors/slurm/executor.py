"""The ``launch.executors.base.Executor`` of a SLURM cluster: a plan comes in; job arrays in its queue go out.

Submitting is reconciling: under a lock the queue and the run folders are read, and only what neither holds is queued.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from datasets.errors import InputError
from launch.executors.base import Outcome
from launch.executors.prepare import prepare_folder
from launch.executors.slurm.job import Job, JobRun
from launch.executors.slurm.profile import ClusterConfig
from launch.executors.slurm.queue import max_array_size, set_dependency
from launch.executors.slurm.sbatch import queue_jobs
from launch.executors.slurm.stages import Task, chunks, coarse_dependency, exact_dependencies, make_stages
from launch.executors.slurm.submission import FOLDER, Submission, forget_submission, new_submission, write_submission
from launch.grids.grid import GridRun
from launch.plan.decide import ABSENT, Decision, Found, decide
from launch.plan.lock import RunLock

LOCK_WAIT_S = 300.0
LOCK_POLL_S = 0.1

Look = Callable[[], Mapping[str, Found]]
Command = Callable[[GridRun], list[str]]


class SlurmExecutor:
    """Queues what is not queued yet; two of them at once queue nothing twice."""

    def __init__(
        self,
        *,
        grid: str,
        runs_dir: Path,
        command: Command,
        cluster: ClusterConfig,
        look: Look,
        priority: Mapping[str, float],
    ) -> None:
        """Take what is needed; nothing is queued yet.

        Args:
            grid: name of the grid, for the jobs' names.
            runs_dir: folder of run folders, absolute and seen by every node.
            command: gives the command line that computes a run, the interpreter first.
            cluster: what one run asks for.
            look: reads queue and run folders.
            priority: by run id; of the runs that could start, the highest starts first.
        """
        self._grid, self._runs_dir, self._command = grid, runs_dir, command
        self._cluster, self._look, self._priority = cluster, look, priority

    def submit(self, plan: Sequence[Decision]) -> list[Outcome]:
        """Queue what the plan's runs still lack; an outcome for each decision, in their order.

        Raises:
            InputError: when the queue refuses; what was queued before stays, and the same command goes on.
        """
        with submit_lock(self._runs_dir):
            found = self._look()
            decisions = decide([decision.run for decision in plan], found)
            outcomes = dict(_settled(decisions, found))
            runs = [decision.run for decision in decisions if decision.run.run_id not in outcomes]
            placed = {run_id: state.job for run_id, state in found.items() if _is_held(state) and state.job}
            stages = self.stages(runs, placed)
            most = max_array_size() if stages else 0
            for stage in stages:
                self._submit_stage(stage, placed, most)
            for run in runs:
                outcomes[run.run_id] = Outcome(run=run, state="queued", reason=f"job {placed[run.run_id]}")
        return [outcomes[decision.run.run_id] for decision in plan]

    def stages(self, runs: Sequence[GridRun], placed: Mapping[str, str]) -> list[list[Task]]:
        """How these runs would be queued, beside what is queued already."""
        return make_stages(runs, placed, runs_per_task=self._cluster.runs_per_gpu, priority=self._priority)

    def _submit_stage(self, stage: Sequence[Task], placed: dict[str, str], most: int) -> None:
        """Queue one stage in arrays of at most ``most`` tasks."""
        exact = exact_dependencies(stage, placed)
        dependency = None
        if exact:
            dependency = next(iter(exact)) if len(exact) == 1 else coarse_dependency(stage, placed)
        for part in chunks(stage, most):
            submission = self._sbatch(part, dependency)
            for number, task in enumerate(part):
                job = submission.task_job(number)
                assert job is not None
                placed.update({run.run_id: job for run in task.runs})
            if len(exact) > 1:
                _set_dependencies(submission, exact_dependencies(part, placed))

    def _sbatch(self, tasks: Sequence[Task], dependency: str | None) -> Submission:
        """One sbatch call, written down before and after."""
        run_ids = [[run.run_id for run in task.runs] for task in tasks]
        submission = new_submission(self._grid, time.time(), run_ids)
        folder = self._runs_dir / FOLDER / submission.name
        jobs = [self._job(task) for task in tasks]
        for task in tasks:
            for run in task.runs:
                prepare_folder(run, self._runs_dir)
        write_submission(self._runs_dir, submission)
        try:
            number = queue_jobs(jobs, self._cluster, folder, submission.name, dependency)
        except InputError:
            forget_submission(self._runs_dir, submission)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        submission = replace(submission, job=number)
        write_submission(self._runs_dir, submission)
        return submission

    def _job(self, task: Task) -> Job:
        cluster = self._cluster
        return Job(
            runs=tuple(self._job_run(run) for run in task.runs),
            num_ranks=cluster.num_ranks,
            time_min=cluster.time_min,
            signal_delay_s=cluster.signal_delay_s,
            max_tries=cluster.max_tries,
            max_restarts=cluster.max_restarts,
        )

    def _job_run(self, run: GridRun) -> JobRun:
        return JobRun(
            name=run.name,
            kind=run.kind,
            folder=str(self._runs_dir / run.run_id),
            arguments=tuple(self._command(run)[1:]),
            needs=tuple((need.name, str(self._runs_dir / need.run_id)) for need in run.config.needs),
        )


@contextmanager
def submit_lock(runs_dir: Path) -> Iterator[None]:
    """Hold the folder's queue alone, so that two submits see each other's jobs.

    Raises:
        InputError: when another submit holds it for minutes.
    """
    deadline = time.monotonic() + LOCK_WAIT_S
    while (lock := RunLock.acquire(runs_dir / FOLDER)) is None:
        if time.monotonic() > deadline:
            raise InputError(f"{runs_dir / FOLDER}: another cxr grid submit has held it for {LOCK_WAIT_S:.0f} s")
        time.sleep(LOCK_POLL_S)
    try:
        yield
    finally:
        lock.release()


def _is_held(state: Found) -> bool:
    return state.state in ("queued", "running")


def _settled(decisions: Sequence[Decision], found: Mapping[str, Found]) -> Iterator[tuple[str, Outcome]]:
    """Outcomes of the runs that are not to be queued now."""
    outside: dict[str, str] = {}
    for decision in decisions:
        run, state = decision.run, found.get(decision.run.run_id, ABSENT)
        beyond = [outside[need] for need in run.needs if need in outside]
        if decision.action == "skip":
            yield run.run_id, Outcome(run=run, state="skipped", reason=decision.reason)
        elif decision.action == "blocked":
            yield run.run_id, Outcome(run=run, state="blocked", reason=decision.reason)
        elif _is_held(state):
            if state.job is None:
                outside[run.run_id] = run.name
            yield run.run_id, Outcome(run=run, state="queued", reason=decision.reason)
        elif beyond:
            outside[run.run_id] = beyond[0]
            reason = f"needs {beyond[0]}, which runs outside the queue; submit again once it is done"
            yield run.run_id, Outcome(run=run, state="blocked", reason=reason)


def _set_dependencies(submission: Submission, exact: Mapping[str, Sequence[int]]) -> None:
    """Narrow what an array's tasks wait for; where that is refused they wait for the whole stage."""
    for dependency, numbers in exact.items():
        try:
            set_dependency((f"{submission.task_job(number)}" for number in numbers), dependency)
        except InputError as error:
            print(f"warning: {error}; runs of {submission.name} wait for the whole stage before", file=sys.stderr)
            return
