"""``cxr grid submit``, ``retry``, ``watch``, ``cancel`` and ``logs``: what changes or follows queued runs."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from datasets.errors import InputError, did_you_mean
from datasets.sources.registry import parts_of
from harness.runs.beta_search import drop_decided
from harness.runs.folder import RunFolder
from harness.runs.runtime import Precision
from launch.cli.grid.plan import GridOptions, GridView, warn_of_others
from launch.executors.base import Executor, Outcome, QueueError, SubmitRequest, UnreachableError
from launch.executors.prepare import TrainCommand
from launch.executors.process import log_tail
from launch.executors.registry import executors_used, make_executor
from launch.grids.grid import GridRun, needs_first
from launch.grids.registry import GRIDS
from launch.plan.balance import check_balance
from launch.plan.decide import Decision, decide
from launch.plan.history import read_history
from launch.plan.run_state import RunState
from launch.plan.tables import counts_line, plural, print_plan, print_status
from launch.ranges import Amount, Count, Positive

ENDINGS = ("done", "skipped", "queued", "waiting", "postponed", "failed", "blocked")
LOST = ("failed", "cancelled")
"""States of runs that only a person sends on."""
MAX_LISTED = 20
"""Runs of a kind that a submit lists at its end."""
MAX_IN_VAIN = 5
TAIL = 12
"""Last lines of its log that are shown of a failed run."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Submit(GridOptions):
    """Run a grid's missing runs on this machine, or queue them on a cluster, each once its needs are done.

    Finished runs are skipped, interrupted ones go on from their checkpoints, failed ones are tried again, queued ones
    are left alone. With --cluster the command ends once all is queued. A finished run stays finished when a run that
    it needs is computed again: on the same data that gives the same weights.

    For example:
        cxr grid submit demo --runs-dir runs/demo --data-dir data/demo
        cxr grid submit paper --cluster profile.toml --data-dir data --dry-run
    """

    cluster: Path | None = None
    """Cluster profile (TOML): queue the runs on SLURM; launch/executors/slurm/example.toml lists all keys. For
    another executor, its own options; --executor local takes those of this machine from it."""
    executor: str | None = None
    """What runs them: local, slurm, pbs, lsf, htcondor, kubernetes, or an executor of another installed package; by
    default slurm with --cluster, else local."""
    allow_dirty: bool = False
    """Queue although the checkout has uncommitted changes, which queued runs would read whenever they start."""

    slots: int | None = None
    """Runs at once; by default one for each GPU, else two on the CPU."""
    runs_per_gpu: int | None = None
    """Runs at once on each GPU, each beside another once there is memory for it; cores are shared out over all."""
    mps: bool = False
    """Let runs that share a GPU compute at the same time by NVIDIA's Multi-Process Service, which is started and
    stopped here; its gain is not measured."""
    on_end: str | None = None
    """Shell line that is started when a run is done or has failed, as the profile's key of this name."""
    threads_per_run: Count | None = None
    """CPU threads of one run; by default the cores shared out over the slots."""
    precision: Precision = "auto"
    """Arithmetic of the networks; auto is bf16 where the device computes in it, else fp32, and for a run that goes on
    what it began in."""
    imagenet_weights: Path | None = None
    """torchvision's densenet121 IMAGENET1K_V1 file, or a folder of it and those of other networks; without it
    torchvision's own cache or download is used, and of other networks the library's cache alone."""
    xrv_weights: tuple[Path, ...] = ()
    """Files of torchxrayvision weights, for runs with kind = "xrv"."""
    tier: Literal["auto", "raw", "jpeg", "resident"] | None = None
    """Where images come from, as cxr train takes it."""
    augment_on: Literal["auto", "cpu", "device"] | None = None
    """Who flips and rotates images, as cxr train takes it."""
    compile: bool = False
    """Compile students with torch.compile, as cxr train takes it; runs share what is compiled."""
    checkpoint_minutes: Amount | None = None
    """Minutes between checkpoints inside an epoch, as cxr train takes it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes the GPUs when there are any."""
    dry_run: bool = False
    """Print the plan and what would be sent, and start nothing."""

    def run(self) -> None:
        view = self.look()
        plan, executor = decide(view.runs, view.states), self.chosen_executor()
        request = self.request(view, plan)
        warn_of_others(view.others)
        if self.dry_run:
            print_plan(plan, view.estimate())
            text = executor.preview(request)
            if text:
                print(text)
            return
        self.check_files(plan)
        conclude(self.send(executor, request))

    def send(self, executor: Executor, request: SubmitRequest) -> list[Outcome]:
        return executor.submit(request)

    def chosen_executor(self) -> Executor:
        name = self.executor or ("local" if self.cluster is None else "slurm")
        return make_executor(name, self.runs_dir.resolve())

    def request(self, view: GridView, plan: Sequence[Decision]) -> SubmitRequest:
        """Return what the executor needs; files and folders are absolute, since jobs start elsewhere."""
        command = TrainCommand(
            runs_dir=self.runs_dir.resolve(),
            data_dir=self.data_dir.resolve(),
            precision=self.precision,
            device=self.device,
            num_threads=self.threads_per_run,
            imagenet_weights=None if self.imagenet_weights is None else self.imagenet_weights.resolve(),
            options={
                "xrv_weights": tuple(path.resolve() for path in self.xrv_weights),
                "tier": self.tier,
                "augment_on": self.augment_on,
                "checkpoint_minutes": self.checkpoint_minutes,
                "compile": self.compile or None,
            },
        )
        return SubmitRequest(
            grid=self.grid,
            plan=plan,
            command=command,
            facts=view.facts,
            hours=view.estimate().left,
            profile=self.cluster,
            slots=self.slots,
            runs_per_gpu=self.runs_per_gpu,
            mps=self.mps,
            on_end=self.on_end,
            allow_dirty=self.allow_dirty,
        )

    def check_files(self, plan: Sequence[Decision]) -> None:
        """Refuse at once what every run would fail over.

        Raises:
            InputError: naming the first wrong option or the missing betons.
        """
        if self.imagenet_weights is not None and not self.imagenet_weights.exists():
            raise InputError(f"--imagenet-weights {self.imagenet_weights}: no such file")
        absent = [path for path in self.xrv_weights if not path.is_file()]
        if absent:
            raise InputError(f"--xrv-weights {absent[0]}: no such file")
        runs = [decision.run for decision in plan if decision.action in ("run", "wait")]
        names = {run.config.data.dataset for run in runs}
        needed = {part for name in names for part in parts_of(name)}
        missing = sorted(name for name in needed if not (self.data_dir / f"{name}.beton").is_file())
        if missing:
            files = ", ".join(f"{name}.beton" for name in missing)
            expected = f" (the grid expects {GRIDS[self.grid].data})" if self.grid in GRIDS else ""
            raise InputError(
                f"{self.data_dir}: lacks {files}; make them with cxr convert, or give --data-dir{expected}"
            )
        check_balance(runs, self.data_dir)


@dataclass(frozen=True, kw_only=True)
class Retry(Submit):
    """Submit again the runs that failed, with what they need and nothing else; takes what submit takes.

    For example:
        cxr grid retry paper --cluster profile.toml --data-dir data
    """

    cancelled: bool = False
    """Also the runs that cxr grid cancel took out of the queue."""

    def look(self) -> GridView:
        """Return the failed runs, and on demand the cancelled ones, and what they need."""
        view = super().look()
        found = {state: {run.run_id for run in view.runs if view.states[run.run_id].state == state} for state in LOST}
        chosen = found["failed"] | (found["cancelled"] if self.cancelled else set())
        if not chosen:
            count = plural(len(found["cancelled"]), "cancelled run")
            hint = f"--cancelled takes its {count}" if found["cancelled"] else "see cxr grid status"
            raise InputError(f"no run of grid {self.grid} has failed; {hint}")
        for run in reversed(view.runs):
            if run.run_id in chosen:
                chosen.update(run.needs)
        return replace(view, runs=tuple(run for run in view.runs if run.run_id in chosen))

    def send(self, executor: Executor, request: SubmitRequest) -> list[Outcome]:
        return executor.retry(request)


@dataclass(frozen=True, kw_only=True)
class Watch(Submit):
    """Submit to a cluster and stay: queue again whatever left the queue unfinished, until all is done or has failed.

    For clusters that cancel preempted jobs instead of queueing them again. Runs that failed, or that cxr grid cancel
    took out of the queue, are left to cxr grid retry.

    For example:
        cxr grid watch paper --cluster profile.toml --data-dir data
    """

    interval_s: Positive = 60.0
    """Time between two looks at the queue."""

    def run(self) -> None:
        """Watch; exit with status 1 when a run failed. A queue that does not answer is asked again."""
        executor = self.chosen_executor()
        if not executor.keeps_queue:
            raise InputError("grid watch needs --cluster; on one machine cxr grid submit stays by itself")
        is_first = is_moving = True
        queued: Counter[tuple[str, int]] = Counter()
        while is_moving:
            try:
                is_moving = self._queue_what_is_left(executor, queued)
            except QueueError as error:
                if is_first:
                    raise
                logger.warning("%s; asking again in %.0f s", error, self.interval_s)
            is_first = False
            time.sleep(self.interval_s if is_moving else 0.0)
        view = self.look()
        print_status(view.runs, view.states)
        failed = [run for run in view.runs if view.states[run.run_id].state == "failed"]
        for run in failed[:MAX_LISTED]:
            tail = log_tail(RunFolder(self.runs_dir / run.run_id).log_file, TAIL)
            shown = "".join(f"\n    {line}" for line in tail)
            logger.error("failed %s: %s%s", run.name, view.states[run.run_id].error, shown)
        if any(view.states[run.run_id].state != "done" for run in view.runs):
            sys.exit(1)

    def _queue_what_is_left(self, executor: Executor, queued: Counter[tuple[str, int]]) -> bool:
        """Queue what can go on and is not queued; return whether there is anything left to wait for."""
        view = self.look()
        hopeless = {run.run_id for run in view.runs if view.states[run.run_id].state in LOST}
        for run in view.runs:  # needs first
            if not hopeless.isdisjoint(run.needs):
                hopeless.add(run.run_id)
        plan = decide([run for run in view.runs if run.run_id not in hopeless], view.states)
        plan = [decision for decision in plan if decision.action != "blocked"]
        ready = [decision.run for decision in plan if decision.action == "run"]
        queueable = [decision.run for decision in plan] if executor.orders_jobs else ready
        if any(view.states[run.run_id].state in ("absent", "partial") for run in queueable):
            refuse_in_vain(queued, ready, view.states, executor)
            self.check_files(plan)
            conclude(self.send(executor, replace(self.request(view, plan), leave_lost=True)))
        return any(decision.action != "skip" for decision in plan)


def refuse_in_vain(
    queued: Counter[tuple[str, int]], runs: Sequence[GridRun], states: Mapping[str, RunState], executor: Executor
) -> None:
    """Count runs that are about to be queued, their needs done, in ``queued``: by run id and number of starts.

    Raises:
        InputError: when jobs of one leave the queue again and again without starting it.
    """
    for run in runs:
        key = (run.run_id, len(read_history(executor.runs_dir / run.run_id)))
        queued[key] += 1
        if queued[key] > MAX_IN_VAIN:
            raise InputError(
                f"{run.name}: {MAX_IN_VAIN} jobs, the last {states[run.run_id].job}, left the queue and did not "
                f"start it; see {executor.folder} and the cluster's accounting"
            )


@dataclass(frozen=True, kw_only=True)
class Cancel(GridOptions):
    """Take a grid's runs out of the queue; running ones save first. They stay out, whoever watches, until cxr grid
    submit or retry goes on with them.

    Of a chosen part only these runs are cancelled, and what needs them; what they need goes on.

    For example:
        cxr grid cancel paper --only chexpert_1k
    """

    all: bool = False
    """Take out everything that the queue holds in --runs-dir, also what an earlier version of the grid queued."""

    def run(self) -> None:
        grid = self.load()
        chosen = {run.run_id for run in self.choose(grid, with_needs=False)}
        for run in needs_first(grid.runs):
            if not chosen.isdisjoint(run.needs):
                chosen.add(run.run_id)
        runs = [run for run in grid.runs if run.run_id in chosen]
        if not self.runs_dir.is_dir():
            raise InputError(f"--runs-dir {self.runs_dir}: no such folder")
        used = executors_used(self.runs_dir)
        if not used:
            raise InputError(
                f"{self.runs_dir}: no run of it was queued; Ctrl-C stops a cxr grid submit of this machine"
            )
        count = sum(executor.cancel_all() if self.all else executor.cancel(runs) for executor in used)
        logger.info("%s cancelled", plural(count, "job"))


@dataclass(frozen=True, kw_only=True)
class Clean(GridOptions):
    """Remove from done runs what only resuming them needed, which a killed training may leave.

    The best checkpoint, metrics, predictions and result stay.

    For example:
        cxr grid clean demo --runs-dir runs/demo
    """

    def run(self) -> None:
        runs = self.choose(self.load())
        ended = [run for run in runs if run.config.schedule.stop_after is None]  # a later rung goes on from others
        freed = sum(RunFolder(self.runs_dir / run.run_id).drop_resume_files() for run in ended)
        freed += sum(drop_decided(run.config, lambda need: RunFolder(self.runs_dir / need.run_id)) for run in runs)
        logger.info("%.1f MB freed", freed / 1e6)


@dataclass(frozen=True, kw_only=True)
class Logs(GridOptions):
    """Print the end of a run's log, and how its starts in the queue ended.

    For example:
        cxr grid logs demo teacher_mimic_d121 --runs-dir runs/demo
    """

    wanted: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Name or id of the run, or a part that no other has."""
    lines: int = 40
    """Lines to print."""

    def run(self) -> None:
        run = find_one(self.choose(self.load(), with_needs=False), self.wanted)
        folder = RunFolder(self.runs_dir / run.run_id)
        starts = read_history(folder.path)
        for start in starts:
            ending = ": ".join(filter(None, (start["ending"] or "has not ended", start["reason"])))
            logger.info("job %s, restart %s, on %s: %s", start["job"], start["restart"], start["host"], ending)
        if starts:
            endings = Counter(start["ending"] or "has not ended" for start in starts)
            counts = ", ".join(f"{count} {ending}" for ending, count in endings.items())
            logger.info("%s: %s", plural(len(starts), "start"), counts)
        path = next((path for path in (folder.log_file, *self._queue_logs(run)) if path.exists()), None)
        if path is None:
            error = self.look().states[run.run_id].error
            raise InputError(f"{run.name}: no log yet; {error or 'see cxr grid status'}")
        logger.info("%s:", path)
        print("\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-self.lines :]))

    def _queue_logs(self, run: GridRun) -> list[Path]:
        """Return what the queues' jobs printed themselves; a queue that does not answer has none."""
        found = []
        for executor in executors_used(self.runs_dir):
            try:
                path = executor.logs(run)
            except UnreachableError as error:
                logger.warning("%s", error)
                continue
            if path is not None:
                found.append(path)
        return found


def conclude(outcomes: Sequence[Outcome]) -> None:
    """Say which runs were queued and as what jobs, how the runs ended, and which failed or were blocked, and why.

    Raises:
        SystemExit: with status 1 when a run failed or was blocked.
    """
    ended = {state: [outcome for outcome in outcomes if outcome.state == state] for state in ENDINGS}
    counts = {{"waiting": "already queued or running"}.get(state, state): len(ended[state]) for state in ENDINGS}
    logger.info("%s", counts_line(len(outcomes), counts))
    _list(ended["queued"] + ended["postponed"], "cxr grid status")
    broken = ended["failed"] + ended["blocked"]
    _list(broken, "cxr grid plan")
    if broken:
        sys.exit(1)


def _list(outcomes: Sequence[Outcome], command: str) -> None:
    for outcome in outcomes[:MAX_LISTED]:
        logger.info("  %s %s: %s", outcome.state, outcome.run.name, outcome.reason)
    if len(outcomes) > MAX_LISTED:
        logger.info("  and %d more; see %s", len(outcomes) - MAX_LISTED, command)


def find_one(runs: Sequence[GridRun], name: str) -> GridRun:
    """Return the run of this name or id, or the only one with this in its name.

    Raises:
        InputError: when there is none or more than one.
    """
    exact = [run for run in runs if name in (run.name, run.run_id)]
    found = exact or [run for run in runs if name in run.name]
    if not found:
        near = did_you_mean(name, [run.name for run in runs])
        raise InputError(f"run {name!r}: no run of the grid has this in its name; {near}see cxr grid plan")
    if len(found) > 1:
        listed = ", ".join(run.name for run in found[:3]) + (" ..." if len(found) > 3 else "")
        raise InputError(f"run {name!r}: several have this in their name: {listed}")
    return found[0]
