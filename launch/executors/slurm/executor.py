"""Queue runs on a SLURM cluster, follow them and cancel them.

Submitting is reconciling: under a lock the queue and the run folders are read, and only what neither holds is queued.
"""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path

from datasets.errors import InputError
from launch.executors.base import Executor, Outcome, SubmitRequest
from launch.executors.reconcile import (
    HELD,
    read_cancelled,
    refuse_changed_code,
    settled,
    submit_lock,
    write_cancelled,
)
from launch.executors.slurm.batch import Batch
from launch.executors.slurm.places import ProfilePlace, load_places
from launch.executors.slurm.queue import DEFAULT_MAX_ARRAY_SIZE, cancel_jobs
from launch.executors.slurm.sbatch import refuse_what_no_node_has, render
from launch.executors.slurm.stages import Task, arrays
from launch.executors.slurm.states import QueueView
from launch.executors.slurm.submission import new_submission
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
        places, leave = _places_of(request), request.leave_lost
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
            batch = Batch(self.folder, request, places, jobs, view.throttled())
            for place in dict.fromkeys(batch.places[run.run_id] for run in missing):
                refuse_what_no_node_has(place.cluster, place.name)
            write_cancelled(self.folder, read_cancelled(self.folder) - {run.run_id for run in missing})
            batch.submit(missing)
            for run in missing:
                why = f"job {batch.jobs[run.run_id]}, {reasons[run.run_id]}"
                outcomes[run.run_id] = Outcome(run=run, state="queued", reason=why)
        held = [run.run_id for run in runs if view.job_of(run.run_id) is not None]
        digests = {place: place.cluster.digest for place in places}
        kept = [run_id for run_id in held if view.places[run_id].profile not in (None, digests[batch.places[run_id]])]
        if kept:
            words = "%s queued with another profile before; cxr grid cancel, then submit, gives this one"
            logger.warning(words, plural(len(kept), "run"))
        return [outcomes[run.run_id] for run in runs]

    def preview(self, request: SubmitRequest) -> str:
        """Describe the arrays: runs of each stage and place, the file that sbatch gets first for each, a command."""
        places = _places_of(request)
        batch = Batch(self.folder, request, places, {}, {})
        runs = [decision.run for decision in request.plan if decision.action in ("run", "wait")]
        lines: list[str] = []
        parts: list[Sequence[Task]] = []
        for number, stage in enumerate(batch.stages(runs)):
            num_runs = sum(len(task.runs) for task in stage)
            waits = len({task.needs for task in stage if task.needs})
            lines.append(f"stage {number}: {num_runs} runs in {len(stage)} jobs, {waits} different sets of needs")
            parts += arrays(stage, DEFAULT_MAX_ARRAY_SIZE)
        for place in places if len(places) > 1 else ():
            its = [task for part in parts for task in part if task.place is place]
            num_runs = sum(len(task.runs) for task in its)
            lines.append(f"{place.name}: {plural(num_runs, 'run')} in {plural(len(its), 'job')}")
        for place in dict.fromkeys(part[0].place for part in parts):
            first = next(part for part in parts if part[0].place is place)
            name = new_submission(request.grid, 0.0, []).name
            which = f"first of {place.name}" if len(places) > 1 else "first"
            lines.append(f"{plural(len(parts), 'call')} of sbatch, the {which} with this file:")
            text = render(len(first), place.cluster, self.folder / name, name)
            lines += [f"  {line}".rstrip() for line in text.splitlines()]
        if runs:
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


def _places_of(request: SubmitRequest) -> tuple[ProfilePlace, ...]:
    request.refuse_machine_options()
    runs_dir = request.command.runs_dir
    if "%" in str(runs_dir):
        raise InputError(f"--runs-dir {runs_dir}: SLURM would replace the % in its path; take one without")
    if request.profile is None:
        raise InputError("--executor slurm needs --cluster PROFILE; launch/executors/slurm/example.toml has all keys")
    return load_places(request.profile)
