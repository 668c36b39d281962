"""``cxr grid plan``, ``submit``, ``status``: a grid's name and folders come in; tables, JSON, run folders go out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from datasets.errors import InputError
from launch.cost import critical_paths
from launch.executor import Outcome
from launch.found import DatasetFacts, dataset_facts, find_runs
from launch.grid import GridRun, load_grid
from launch.live import observing
from launch.local import LocalExecutor
from launch.plan import Decision, Found, decide
from launch.slots import make_slots, num_cores
from launch.slurm.states import queue_if_any, with_queue
from launch.status_table import plan_document, print_plan, print_status, status_document
from launch.train_command import TrainCommand

ENDINGS = ("done", "skipped", "queued", "failed", "blocked")
MAX_LISTED = 20
"""Failed and blocked runs that a submit lists at its end."""


@dataclass(frozen=True, kw_only=True)
class _GridCommand:
    grid: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="GRID")]
    """Name of the grid, demo or paper, or a Python file with a function grid() that returns one."""
    runs_dir: Path = Path("runs")
    """Folder of run folders."""
    data_dir: Path = Path()
    """Folder that holds DATASET.beton for each dataset of the grid."""
    only: str | None = None
    """Only runs whose name contains this, and the runs that they need."""

    def look(self) -> tuple[tuple[GridRun, ...], dict[str, DatasetFacts], dict[str, Found]]:
        """The chosen runs, what their betons hold, and where they stand by their folders and by the queue."""
        runs = load_grid(self.grid).select(self.only)
        facts = dataset_facts(self.data_dir, {run.config.data.dataset for run in runs})
        view = queue_if_any(self.runs_dir)
        return runs, facts, with_queue(runs, find_runs(runs, self.runs_dir, facts), view, self.runs_dir)


@dataclass(frozen=True, kw_only=True)
class Plan(_GridCommand):
    """List the runs of a grid, what each needs, and what a submit would do with it and why.

    Example: cxr grid plan paper --only chexpert_1k
    """

    json: bool = False
    """Print JSON alone: grid, and for each run id, name, kind, needs, cells, config, action, reason."""

    def run(self) -> None:
        """Print the plan."""
        runs, _facts, found = self.look()
        plan = decide(runs, found)
        if self.json:
            print_json(plan_document(self.grid, plan))
        else:
            print_plan(plan)


@dataclass(frozen=True, kw_only=True)
class Status(_GridCommand):
    """Show where each run of a grid stands, from the run folders and, for queued runs, one call of squeue.

    Example: cxr grid status demo --runs-dir runs/demo
    """

    json: bool = False
    """Print JSON alone: grid, and for each run id, name, kind, state, job, epoch(s), mean_auroc, images_per_s,
    error."""

    def run(self) -> None:
        """Print the states."""
        runs, _facts, found = self.look()
        if self.json:
            print_json(status_document(self.grid, runs, found))
        else:
            print_status(runs, found)


@dataclass(frozen=True, kw_only=True)
class Submit(_GridCommand):
    """Run a grid's missing runs on this machine, or queue them on a SLURM cluster, each once its needs are done.

    Finished runs are skipped, interrupted ones go on from their checkpoints, failed ones are tried again, queued ones
    are left alone. With --cluster the command ends once all is queued.

    Example: cxr grid submit demo --runs-dir runs/demo --data-dir data/demo
    Example: cxr grid submit paper --cluster profile.toml --data-dir data --dry-run
    """

    cluster: Path | None = None
    """Cluster profile (TOML): queue the runs on SLURM; launch/slurm/example.toml lists all keys."""
    allow_dirty: bool = False
    """Queue although the checkout has uncommitted changes, which queued runs would read whenever they start."""

    slots: int | None = None
    """Runs at once; by default one for each GPU, else two on the CPU."""
    threads_per_run: int | None = None
    """CPU threads of one run; by default the cores shared out over the slots."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the networks."""
    imagenet_weights: Path | None = None
    """torchvision's densenet121 IMAGENET1K_V1 file; without it torchvision's own cache or download is used."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes the GPUs when there are any."""
    dry_run: bool = False
    """Print the plan and start nothing."""

    def run(self) -> None:
        """Carry the plan out; exit with status 1 when a run failed or was blocked."""
        runs, facts, found = self.look()
        plan = decide(runs, found)
        if self.cluster is not None:
            self._queue(self.cluster, plan, facts)
            return
        if self.dry_run:
            print_plan(plan)
            return
        to_run = [decision.run for decision in plan if decision.action in ("run", "wait")]
        self._check_files(to_run)
        slots = make_slots(self.device, self.slots)
        threads = self.threads_per_run or max(1, num_cores() // len(slots))
        splits = {dataset: fact.splits for dataset, fact in facts.items()}
        with observing(total=sum(decision.action != "skip" for decision in plan)) as observer:
            executor = LocalExecutor(
                runs_dir=self.runs_dir,
                command=TrainCommand(
                    runs_dir=self.runs_dir,
                    data_dir=self.data_dir,
                    precision=self.precision,
                    device=self.device,
                    num_threads=threads,
                    imagenet_weights=self.imagenet_weights,
                ),
                slots=slots,
                observer=observer,
                facts=facts,
                priority=critical_paths(runs, splits),
            )
            outcomes = executor.submit(plan)
        conclude(outcomes)

    def _queue(self, profile: Path, plan: Sequence[Decision], facts: Mapping[str, DatasetFacts]) -> None:
        """Hand the plan to a cluster's queue, or say what would be handed over."""
        from launch.slurm.submit import Order, queue_grid

        if self.slots is not None or self.threads_per_run is not None or self.device != "auto":
            raise InputError(
                "--slots, --threads-per-run and --device are for this machine; the cluster profile has them"
            )
        if not self.dry_run:
            self._check_files([decision.run for decision in plan if decision.action in ("run", "wait")])
        order = Order(
            grid=self.grid,
            runs_dir=self.runs_dir.resolve(),
            data_dir=self.data_dir.resolve(),
            profile=profile,
            precision=self.precision,
            imagenet_weights=None if self.imagenet_weights is None else self.imagenet_weights.resolve(),
            allow_dirty=self.allow_dirty,
        )
        if self.dry_run:
            print_plan(plan)
        outcomes = queue_grid(order, plan, facts, dry_run=self.dry_run)
        if not self.dry_run:
            conclude(outcomes)

    def _check_files(self, runs: Sequence[GridRun]) -> None:
        """Refuse at once what every run would stumble over."""
        if self.threads_per_run is not None and self.threads_per_run < 1:
            raise InputError(f"--threads-per-run {self.threads_per_run}: expected at least 1")
        if self.imagenet_weights is not None and not self.imagenet_weights.is_file():
            raise InputError(f"--imagenet-weights {self.imagenet_weights}: no such file")
        names = {run.config.data.dataset for run in runs}
        missing = sorted(name for name in names if not (self.data_dir / f"{name}.beton").is_file())
        if missing:
            files = ", ".join(f"{name}.beton" for name in missing)
            raise InputError(f"{self.data_dir}: lacks {files}; make them with cxr convert, or give --data-dir")


def conclude(outcomes: Sequence[Outcome]) -> None:
    """Print how the runs ended.

    Raises:
        SystemExit: with status 1 when a run failed or was blocked.
    """
    ended = {state: [o for o in outcomes if o.state == state] for state in ENDINGS}
    counts = ", ".join(f"{len(found)} {state}" for state, found in ended.items() if found)
    print(f"{len(outcomes)} {'run' if len(outcomes) == 1 else 'runs'}: {counts}", file=sys.stderr)
    broken = ended["failed"] + ended["blocked"]
    for outcome in broken[:MAX_LISTED]:
        print(f"  {outcome.state} {outcome.run.name}: {outcome.reason}", file=sys.stderr)
    if len(broken) > MAX_LISTED:
        print(f"  and {len(broken) - MAX_LISTED} more; see cxr grid plan", file=sys.stderr)
    if broken:
        sys.exit(1)


def print_json(document: object) -> None:
    """Print JSON alone on standard output."""
    print(json.dumps(document, indent=2, allow_nan=False))
