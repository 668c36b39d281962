"""Queue runs by a scheduler's own commands, one job for each run, follow them and cancel them.

A job is named by its run and folder, so the queue itself tells which runs it holds, even when the submitting host
died. A class for a scheduler says how a job is queued, how the queue is read and how jobs are taken out of it.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from datasets.errors import InputError
from datasets.files import write_text
from harness.runs.provenance import ROOT
from launch.executors.base import Executor, Outcome, QueueError, SubmitRequest
from launch.executors.clusters.profile import JobProfile
from launch.executors.clusters.queued import HeldJob, NewJob, QueuedRun
from launch.executors.commands import ask
from launch.executors.prepare import TrainCommand, prepare_folder
from launch.executors.reconcile import (
    HELD,
    read_cancelled,
    refuse_changed_code,
    settled,
    submit_lock,
    write_cancelled,
)
from launch.executors.slurm.ending import NEVER_BEGAN
from launch.executors.slurm.profile import read_profile
from launch.executors.slurm.sbatch import stop_after
from launch.executors.slurm.worker import Job, JobRun
from launch.grids.grid import GridRun, needs_first
from launch.plan.decide import decide
from launch.plan.run_state import ABSENT, RunState, read_states
from launch.plan.tables import plural

TAIL_BYTES = 4096
LATER = "cxr grid watch queues it once what it needs is done"

Profile = TypeVar("Profile", bound=JobProfile)


class ClusterExecutor(Executor, Generic[Profile]):
    """Runs of a grid in a queue that is driven by commands."""

    profile_type: type[Profile]
    commands: ClassVar[tuple[str, ...]]
    """Those that this host must have."""
    job_variable: ClassVar[str]
    """Shell expression of the job's id, within the job."""
    settle_s: ClassVar[float] = 0.0
    """Time that the queue may take to show a job that it has accepted."""

    @abstractmethod
    def queue_command(self, job: NewJob, profile: Profile) -> list[str]:
        """Return the command that queues a job."""

    def description(self, job: NewJob, profile: Profile) -> tuple[str, str] | None:
        """Return suffix and text of a file that the command reads besides the script, if there is one."""
        return None

    @abstractmethod
    def job_id(self, output: str) -> str:
        """Return the job's id from what the command printed."""

    @abstractmethod
    def read_queue(self) -> Iterable[HeldJob]:
        """Return the user's jobs that have not ended.

        Raises:
            UnreachableError: when the queue does not answer.
        """

    @abstractmethod
    def remove(self, jobs: Sequence[str]) -> None:
        """Take jobs out of the queue, running ones by SIGTERM, in time to save."""

    def submit(self, request: SubmitRequest) -> list[Outcome]:
        """Queue what the plan's runs still lack.

        Raises:
            InputError: for a wrong profile, a changed checkout, no scheduler here, or a queue that refuses; what was
                queued before stays, and the same command goes on.
        """
        profile, runs = self._profile(request), [decision.run for decision in request.plan]
        missing = [command for command in self.commands if shutil.which(command) is None]
        if missing:
            raise InputError(f"--executor {self.folder.name}: {missing[0]} is not on the PATH of this host")
        refuse_changed_code(request.allow_dirty)
        with submit_lock(self.folder):
            found = self._corrected(runs, read_states(runs, self.runs_dir, request.facts), self._held())
            decisions = decide(runs, found)
            outcomes = dict(settled(decisions, found, leave_lost=request.leave_lost))
            left = [decision for decision in decisions if decision.run.run_id not in outcomes]
            write_cancelled(self.folder, read_cancelled(self.folder) - {decision.run.run_id for decision in left})
            jobs = {run_id: state.job for run_id, state in found.items() if state.state in HELD and state.job}
            priority = request.priority
            for decision in sorted(left, key=lambda decision: -priority.get(decision.run.run_id, 0.0)):  # needs first
                run = decision.run
                if decision.action == "wait" and not self.orders_jobs:
                    outcomes[run.run_id] = Outcome(run=run, state="postponed", reason=f"{decision.reason}; {LATER}")
                    continue
                job = self._queue(run, request, profile, tuple(jobs[need] for need in run.needs if need in jobs))
                jobs[run.run_id] = job
                outcomes[run.run_id] = Outcome(run=run, state="queued", reason=f"job {job}, {decision.reason}")
        return [outcomes[run.run_id] for run in runs]

    def preview(self, request: SubmitRequest) -> str:
        """Describe the first job: the command that queues it, the files that it gets, and the run's command."""
        profile = self._profile(request)
        actions = ("run", "wait") if self.orders_jobs else ("run",)
        runs = [decision.run for decision in request.plan if decision.action in actions]
        if not runs:
            return ""
        job = self._new_job(runs[0], profile, ())
        extra = self.description(job, profile)
        blocks = {
            f"{plural(len(runs), 'job')} now, the first by:": shlex.join(self.queue_command(job, profile)),
            **({} if extra is None else {f"{job.path.with_suffix(extra[0])}:": extra[1]}),
            f"{job.path}:": job.script,
            "a run's command:": shlex.join(self._train_command(request, profile)(runs[0])),
        }
        lines = [(title, *(f"  {line}".rstrip() for line in text.splitlines())) for title, text in blocks.items()]
        return "\n".join(line for block in lines for line in block)

    def states(
        self, runs: Sequence[GridRun], read_folders: Callable[[], Mapping[str, RunState]]
    ) -> dict[str, RunState]:
        """Return the states of run folders, corrected by the queue."""
        held = self._held()
        return self._corrected(runs, read_folders(), held)

    def cancel(self, runs: Sequence[GridRun]) -> int:
        """Cancel the jobs of these runs."""
        return self._cancel({run.run_id for run in runs})

    def cancel_all(self) -> int:
        """Cancel all jobs whose runs lie in the folder of runs."""
        return self._cancel({path.stem for path in self.folder.glob("*.sh")})

    def logs(self, run: GridRun) -> Path | None:
        """Return what the run's jobs printed."""
        return self.folder / f"{run.run_id}.log"

    def _cancel(self, run_ids: Set[str]) -> int:
        with submit_lock(self.folder):
            write_cancelled(self.folder, read_cancelled(self.folder) | run_ids)
            held = self._held()
            jobs = sorted(held[name].job for name in map(self.job_name, run_ids) if name in held)
            if jobs:
                self.remove(jobs)
        return len(jobs)

    def job_name(self, run_id: str) -> str:
        """Name of the job of a run of this folder, in the letters that all schedulers take."""
        return f"cxr-{_short(run_id)}-{_short(str(self.runs_dir.resolve()))[:6]}"

    def _held(self) -> dict[str, HeldJob]:
        """Return the jobs in the queue by name; the queue is not asked when nothing was ever queued from here."""
        return {job.name: job for job in self.read_queue()} if any(self.folder.glob("*.sh")) else {}

    def _corrected(
        self, runs: Sequence[GridRun], found: Mapping[str, RunState], held: Mapping[str, HeldJob]
    ) -> dict[str, RunState]:
        """Return states from run folders, corrected by the queue; needs are judged before the runs that need them."""
        names, cancelled = {run.run_id: run.name for run in runs}, read_cancelled(self.folder)
        ever = {path.stem for path in self.folder.glob("*.sh")}
        merged = dict(found)
        for run_id in ever - names.keys():  # of an earlier version of the grid
            if (job := held.get(self.job_name(run_id))) is not None:
                merged[run_id] = _with_job(ABSENT, job)
        for run in needs_first(runs):
            state, job = found.get(run.run_id, ABSENT), held.get(self.job_name(run.run_id))
            if run.run_id in ever and job is not None:
                merged[run.run_id] = _with_job(state, job)
                continue
            if run.run_id in ever:
                failed = [names.get(need, need) for need in run.needs if merged.get(need, ABSENT).state == "failed"]
                state = self._left(run, state, failed, is_cancelled=run.run_id in cancelled)
            if run.run_id in cancelled and state.state in ("absent", "partial"):
                state = replace(state, state="cancelled")
            merged[run.run_id] = state
        return merged

    def _left(self, run: GridRun, state: RunState, failed: Sequence[str], *, is_cancelled: bool) -> RunState:
        """Return the state of a run whose job has left the queue, or is not shown yet."""
        if state.state == "running" and state.host is not None:
            state = replace(state, state="partial", host=None)
        if state.state not in ("absent", "partial") or is_cancelled:
            return state
        record = self.folder / f"{run.run_id}.json"
        try:
            queued = QueuedRun.read(record)
        except (InputError, FileNotFoundError):
            return state
        if queued.job is None:  # the command that queues was cut off
            return state
        state = replace(state, job=queued.job)
        if time.time() - record.stat().st_mtime < self.settle_s:
            return replace(state, state="queued", waits_for="just submitted")
        if failed:
            return replace(state, state="failed", error=f"needs {failed[0]}, which failed")
        words = self._last_words(run, began=state.state == "partial")
        return replace(state, state="failed", error=f"job {queued.job} did not start it: {words}") if words else state

    def _last_words(self, run: GridRun, *, began: bool) -> str:
        """Return why a job started nothing; of a run that ``began`` before only what its set-up said."""
        path = self.logs(run)
        text = "" if path is None or not path.exists() else path.read_text("utf-8", "replace")[-TAIL_BYTES:]
        never_began = NEVER_BEGAN.findall(text)
        lines = never_began or ([] if began else [line for line in text.splitlines() if line.strip()])
        return str(lines[-1]).strip() if lines else ""

    def _queue(self, run: GridRun, request: SubmitRequest, profile: Profile, needs: tuple[str, ...]) -> str:
        """Queue one run, with a record before and after; return its job's id."""
        prepare_folder(run, self.runs_dir)
        job = self._new_job(run, profile, needs)
        record = QueuedRun(run_id=run.run_id, work=self._work(run, request, profile), profile=profile.digest)
        record.write(self.folder)
        (self.folder / f"{run.run_id}.log").unlink(missing_ok=True)
        write_text(job.path, job.script)
        extra = self.description(job, profile)
        if extra is not None:
            write_text(job.path.with_suffix(extra[0]), extra[1])
        command = self.queue_command(job, profile)
        try:
            number = self.job_id(ask(*command))
        except QueueError as error:
            raise InputError(f"{run.name} was not queued: {error}") from None
        replace(record, job=number).write(self.folder)
        return number

    def _new_job(self, run: GridRun, profile: Profile, needs: tuple[str, ...]) -> NewJob:
        path = self.folder / f"{run.run_id}.sh"
        record, name = self.folder / f"{run.run_id}.json", self.job_name(run.run_id)
        return NewJob(name=name, script=self._script(record, profile), path=path, needs=needs)

    def _script(self, record: Path, profile: Profile) -> str:
        python = profile.python or shlex.quote(sys.executable)
        lines = [
            "#!/bin/bash",
            *self.first_lines(record.with_suffix(".log")),
            f'export CXR_JOB="{self.job_variable}" CXR_STARTED="$(date +%s)"',
            f'export PYTHONPATH={shlex.quote(str(ROOT))}"${{PYTHONPATH:+:$PYTHONPATH}}"',
            *(part for line in profile.setup for part in (line, stop_after(line))),
            f"exec {python} -m launch.executors.clusters.job {shlex.quote(str(record))}",
        ]
        return "\n".join(lines) + "\n"

    def first_lines(self, log: Path) -> list[str]:
        """Return the lines by which a job's output goes into its log."""
        return [f"exec >> {shlex.quote(str(log))} 2>&1"]

    def _work(self, run: GridRun, request: SubmitRequest, profile: Profile) -> Job:
        names = ("time_min", "signal_delay_s", "max_tries", "max_restarts", "on_end")
        needs = tuple((need.name, str(self.runs_dir / need.run_id)) for need in run.config.needs)
        arguments = tuple(self._train_command(request, profile)(run)[1:])
        work = JobRun(name=run.name, folder=str(self.runs_dir / run.run_id), arguments=arguments, needs=needs)
        values = {name: getattr(profile, name) for name in names}
        return Job(runs=(work,), num_ranks=1, grid=request.grid, **values)

    def _train_command(self, request: SubmitRequest, profile: Profile) -> TrainCommand:
        options = dict(request.command.options)
        if profile.num_processes > 1:
            options["num_processes"] = profile.num_processes
        return replace(
            request.command, device=profile.train_device, num_threads=profile.cpus_per_task, options=options
        )

    def _profile(self, request: SubmitRequest) -> Profile:
        request.refuse_machine_options()
        if request.profile is None:
            raise InputError(f"--executor {self.folder.name} needs --cluster PROFILE; docs/grid.md has an example")
        return read_profile(request.profile, self.profile_type)


def _with_job(state: RunState, job: HeldJob) -> RunState:
    """Return the state of a run whose job the queue holds."""
    state = replace(state, job=job.job)
    if state.state in ("done", "stale", "damaged"):
        return state
    if job.state == "queued":
        return replace(state, state="queued", waits_for=job.waits_for)
    return replace(state, state="running", error=None)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
