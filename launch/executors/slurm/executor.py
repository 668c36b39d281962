"""Queue runs on a SLURM cluster, follow them and cancel them.

Submitting is reconciling: under a lock the queue and the run folders are read, and only what neither holds is queued.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from datasets.errors import InputError
from harness.runs.folder import RunFolder
from launch.executors.base import Executor, Outcome, QueueError, SubmitRequest
from launch.executors.prepare import TrainCommand, prepare_folders
from launch.executors.reconcile import HELD, refuse_changed_code, settled, submit_lock
from launch.executors.slurm.profile import ClusterConfig, load_profile
from launch.executors.slurm.queue import DEFAULT_MAX_ARRAY_SIZE, ask, cancel_jobs, max_array_size
from launch.executors.slurm.sbatch import queue_jobs, refuse_what_no_node_has, render
from launch.executors.slurm.stages import Task, chunks, coarse_dependency, exact_dependencies, make_stages
from launch.executors.slurm.states import QueueView
from launch.executors.slurm.submission import Submission, new_submission, read_cancelled, write_cancelled
from launch.executors.slurm.worker import Job, JobRun
from launch.grids.grid import GridRun
from launch.plan.decide import decide
from launch.plan.run_state import RunState, read_states
from launch.plan.tables import plural

logger = logging.getLogger(__name__)


class SlurmExecutor(Executor):
    """Queue what is not queued yet; two submissions at once queue nothing twice."""

    def submit(self, request: SubmitRequest) -> list[Outcome]:
        """Queue what the plan's runs still lack.

        Raises:
            InputError: for a wrong profile, a changed checkout, no SLURM here, or a queue that refuses; what was
                queued before stays, and the same command goes on.
        """
        cluster, leave = _profile_of(request), request.leave_lost
        if shutil.which("squeue") is None or shutil.which("sbatch") is None:
            raise InputError("--cluster: sbatch or squeue is not on the PATH; submit on a host of the cluster")
        refuse_changed_code(request.allow_dirty)
        runs = [decision.run for decision in request.plan]
        with submit_lock(self.folder):
            view = QueueView.read(self.folder)
            found = view.corrected(runs, read_states(runs, self.runs_dir, request.facts))
            decisions = decide(runs, found)
            outcomes = dict(settled(decisions, found, leave_lost=leave))
            missing = [decision.run for decision in decisions if decision.run.run_id not in outcomes]
            reasons = {decision.run.run_id: decision.reason for decision in decisions}
            jobs = {run_id: state.job for run_id, state in found.items() if state.state in HELD and state.job}
            batch = _Batch(self.folder, request, cluster, jobs)
            if missing:
                refuse_what_no_node_has(cluster)
            write_cancelled(self.folder, read_cancelled(self.folder) - {run.run_id for run in missing})
            batch.submit(missing)
            for run in missing:
                why = f"job {batch.jobs[run.run_id]}, {reasons[run.run_id]}"
                outcomes[run.run_id] = Outcome(run=run, state="queued", reason=why)
        held = [run.run_id for run in runs if view.job_of(run.run_id) is not None]
        kept = [run_id for run_id in held if view.places[run_id].profile not in (None, cluster.digest)]
        if kept:
            words = "%s queued with another profile before; cxr grid cancel, then submit, gives this one"
            logger.warning(words, plural(len(kept), "run"))
        return [outcomes[run.run_id] for run in runs]

    def preview(self, request: SubmitRequest) -> str:
        """Describe the arrays: runs of each stage, the file that sbatch gets for the first, a run's command."""
        cluster = _profile_of(request)
        batch = _Batch(self.folder, request, cluster, {})
        runs = [decision.run for decision in request.plan if decision.action in ("run", "wait")]
        stages = batch.stages(runs)
        lines = []
        for number, stage in enumerate(stages):
            num_runs = sum(len(task.runs) for task in stage)
            waits = len({task.needs for task in stage if task.needs})
            lines.append(f"stage {number}: {num_runs} runs in {len(stage)} jobs, {waits} different sets of needs")
        arrays = sum(-(-len(stage) // DEFAULT_MAX_ARRAY_SIZE) for stage in stages)
        if runs:
            name = new_submission(request.grid, 0.0, []).name
            text = render(min(len(stages[0]), DEFAULT_MAX_ARRAY_SIZE), cluster, self.folder / name, name)
            lines.append(f"{arrays} {'call' if arrays == 1 else 'calls'} of sbatch, the first with this file:")
            lines += [f"  {line}".rstrip() for line in text.splitlines()]
            lines += ["a run's command:", f"  {shlex.join(batch.command(runs[0]))}"]
        return "\n".join(lines)

    def states(
        self, runs: Sequence[GridRun], read_folders: Callable[[], Mapping[str, RunState]]
    ) -> dict[str, RunState]:
        """Return the states of run folders, corrected by one squeue call."""
        return QueueView.read(self.folder).corrected(runs, read_folders())

    def logs(self, run: GridRun) -> Path | None:
        """Return the output of the run's last job."""
        view = QueueView.read(self.folder)
        place = view.places.get(run.run_id)
        return None if place is None else view.log_of(place)

    def cancel(self, runs: Sequence[GridRun]) -> int:
        """Cancel the jobs that hold these runs; jobs that hold others too end with them."""
        return self._cancel({run.run_id for run in runs})

    def cancel_all(self) -> int:
        """Cancel all jobs whose runs lie in the folder of runs."""
        return self._cancel(set(QueueView.read(self.folder).places))

    def _cancel(self, run_ids: Set[str]) -> int:
        with submit_lock(self.folder):
            write_cancelled(self.folder, read_cancelled(self.folder) | run_ids)
            view = QueueView.read(self.folder)
            jobs = sorted({job.job for run_id in run_ids if (job := view.job_of(run_id)) is not None})
            cancel_jobs(jobs)
        return len(jobs)


class _Batch:
    """The sbatch calls of one submission."""

    def __init__(self, folder: Path, request: SubmitRequest, cluster: ClusterConfig, jobs: Mapping[str, str]) -> None:
        """``jobs`` are those that the queue holds already, by run id."""
        self._folder, self._grid, self._cluster, self._priority = folder, request.grid, cluster, request.priority
        self._runs_dir = request.command.runs_dir
        self.jobs = dict(jobs)
        threads = cluster.threads_per_run
        self.command: TrainCommand = replace(request.command, device=cluster.train_device, num_threads=threads)

    def stages(self, runs: Sequence[GridRun]) -> list[list[Task]]:
        """Return how these runs would be queued, beside what is queued already."""
        return make_stages(runs, self.jobs, runs_per_task=self._cluster.runs_in_job, priority=self._priority)

    def submit(self, runs: Sequence[GridRun]) -> None:
        """Queue these runs, stage after stage, and note their jobs."""
        stages = self.stages(runs)
        most = max_array_size() if stages else 0
        for stage in stages:
            exact = exact_dependencies(stage, self.jobs)
            dependency = None
            if exact:
                dependency = next(iter(exact)) if len(exact) == 1 else coarse_dependency(stage, self.jobs)
            for part in chunks(stage, most):
                submission = self._sbatch(part, dependency)
                for number, task in enumerate(part):
                    self.jobs.update({run.run_id: str(submission.task_job(number)) for run in task.runs})
                if len(exact) > 1:
                    _set_dependencies(submission, exact_dependencies(part, self.jobs))

    def _sbatch(self, tasks: Sequence[Task], dependency: str | None) -> Submission:
        """Call sbatch once, with a record before and after; a call that fails leaves nothing behind."""
        runs = [run for task in tasks for run in task.runs]
        submission = new_submission(self._grid, time.time(), [[run.run_id for run in task.runs] for task in tasks])
        submission = replace(submission, profile=self._cluster.digest)
        folder, record = self._folder / submission.name, self._folder / f"{submission.name}.json"
        new_folders = [path for run in runs if not (path := self._runs_dir / run.run_id).exists()]
        try:
            prepare_folders(runs, self._runs_dir)
            submission.write(record)
            jobs = [self._job(task) for task in tasks]
            number = queue_jobs(jobs, self._cluster, folder, submission.name, dependency)
        except Exception:
            record.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            for path in new_folders:
                with suppress(OSError):
                    RunFolder(path).config_file.unlink(missing_ok=True)
                    path.rmdir()
            raise
        submission = replace(submission, job=number)
        submission.write(record)
        return submission

    def _job(self, task: Task) -> Job:
        names = ("num_ranks", "mps", "time_min", "signal_delay_s", "max_tries", "max_restarts", "on_end")
        runs = tuple(
            JobRun(
                name=run.name,
                folder=str(self._runs_dir / run.run_id),
                arguments=tuple(self.command(run)[1:]),
                needs=tuple((need.name, str(self._runs_dir / need.run_id)) for need in run.config.needs),
            )
            for run in task.runs
        )
        gpus = self._cluster.gpus_of_job
        return Job(runs=runs, gpus=gpus, grid=self._grid, **{name: getattr(self._cluster, name) for name in names})


def _profile_of(request: SubmitRequest) -> ClusterConfig:
    request.refuse_machine_options()
    runs_dir = request.command.runs_dir
    if "%" in str(runs_dir):
        raise InputError(f"--runs-dir {runs_dir}: SLURM would replace the % in its path; take one without")
    if request.profile is None:
        raise InputError("--executor slurm needs --cluster PROFILE; launch/executors/slurm/example.toml has all keys")
    return load_profile(request.profile)


def _set_dependencies(submission: Submission, exact: Mapping[str, Sequence[int]]) -> None:
    """Narrow what an array's tasks wait for; where that is refused they wait for the whole stage."""
    for dependency, numbers in exact.items():
        try:
            jobs = ",".join(f"{submission.task_job(number)}" for number in numbers)
            ask("scontrol", "update", f"JobId={jobs}", f"Dependency={dependency}")
        except QueueError as error:
            logger.warning("%s; runs of %s wait for the whole stage before", error, submission.name)
            return
