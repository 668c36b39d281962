"""``cxr grid plan``, ``submit``: a grid's name and folders come in; tables, JSON, run folders go out."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from datasets.errors import InputError
from harness.runs.runtime import Precision
from launch.executors.base import Outcome
from launch.executors.local.executor import LocalExecutor
from launch.executors.local.progress_table import observing
from launch.executors.slots import make_slots, num_cores
from launch.executors.slurm.states import queue_if_any, with_queue
from launch.executors.train_command import TrainCommand
from launch.grids.grid import GridRun
from launch.grids.registry import load_grid
from launch.grids.selection import Selection
from launch.plan.cost import critical_paths, estimate
from launch.plan.decide import Decision, Found, decide
from launch.plan.plan_table import plan_document, print_plan
from launch.plan.run_state import DatasetFacts, dataset_facts, find_runs

ENDINGS = ("done", "skipped", "queued", "failed", "blocked")
MAX_LISTED = 20
"""Failed and blocked runs that a submit lists at its end."""


@dataclass(frozen=True, kw_only=True)
class _GridCommand:
    grid: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="GRID")]
    """Name of the grid, demo or paper, a TOML file, or a Python file with a function grid() that
    returns one."""
    runs_dir: Path = Path("runs")
    """Folder of run folders."""
    data_dir: Path = Path()
    """Folder that holds DATASET.beton for each dataset of the grid."""
    only: str | None = None
    """Only runs whose name contains this, and the runs that they need."""

    def selection(self) -> Selection:
        """What the chosen runs must be like."""
        return Selection(only=self.only)

    def look(self) -> tuple[tuple[GridRun, ...], dict[str, DatasetFacts], dict[str, Found]]:
        """The chosen runs, what their betons hold, and where they stand by their folders and by the queue."""
        runs = self.selection().choose(load_grid(self.grid))
        facts = dataset_facts(self.data_dir, {run.config.data.dataset for run in runs})
        view = queue_if_any(self.runs_dir)
        return runs, facts, with_queue(runs, find_runs(runs, self.runs_dir, facts), view, self.runs_dir)


@dataclass(frozen=True, kw_only=True)
class PartOfGrid(_GridCommand):
    """What the commands that look at a part of a grid have in common; a run that a chosen one needs stays in."""

    name: str | None = None
    """Only runs whose whole name fits this pattern, such as 'chexpert_5k_*_r0'."""
    dataset: tuple[str, ...] = ()
    """Only runs on these datasets."""
    size: tuple[str, ...] = ()
    """Only runs of these training sizes, such as 1k 5k full, or the paper's 178k 5.6k."""
    method: tuple[str, ...] = ()
    """Only these methods: transfer_learning or tl, attention_transfer or at, with a teacher at-mimic, and so on."""
    network: tuple[str, ...] = ()
    """Only these networks."""

    def selection(self) -> Selection:
        """What the chosen runs must be like."""
        return Selection(
            only=self.only,
            name=self.name,
            dataset=self.dataset,
            size=self.size,
            method=self.method,
            network=self.network,
        )


@dataclass(frozen=True, kw_only=True)
class Plan(PartOfGrid):
    """List the runs of a grid, what each needs and costs, and what a submit would do with it and why.

    GPU-hours come from what finished runs of --runs-dir took; else from --images-per-s.

    Example: cxr grid plan paper --dataset chexpert --size 1k 5k --images-per-s 800
    """

    images_per_s: float | None = None
    """Training images per second and GPU of DenseNet-121 by transfer learning, for what no finished run tells;
    500 by default, an assumption."""
    json: bool = False
    """Print JSON alone: grid, cost (images, GPU-hours, critical path), and for each run id, name, kind, needs, cells,
    printed (the paper's value), config, cost, action, reason."""

    def run(self) -> None:
        """Print the plan."""
        runs, facts, found = self.look()
        plan = decide(runs, found)
        cost = estimate(runs, found, splits_of(facts), positive_rate(self.images_per_s))
        if self.json:
            print_json(plan_document(self.grid, plan, cost))
        else:
            print_plan(plan, cost)


@dataclass(frozen=True, kw_only=True)
class Submit(PartOfGrid):
    """Run a grid's missing runs on this machine, or queue them on a SLURM cluster, each once its needs are done.

    Finished runs are skipped, interrupted ones go on from their checkpoints, failed ones are tried again, queued ones
    are left alone. With --cluster the command ends once all is queued. A finished run stays finished when a run that
    it needs is computed again: on the same data that gives the same weights.

    Example: cxr grid submit demo --runs-dir runs/demo --data-dir data/demo
    Example: cxr grid submit paper --cluster profile.toml --data-dir data --dry-run
    """

    cluster: Path | None = None
    """Cluster profile (TOML): queue the runs on SLURM; launch/executors/slurm/example.toml lists all keys."""
    allow_dirty: bool = False
    """Queue although the checkout has uncommitted changes, which queued runs would read whenever they start."""

    slots: int | None = None
    """Runs at once; by default one for each GPU, else two on the CPU."""
    threads_per_run: int | None = None
    """CPU threads of one run; by default the cores shared out over the slots."""
    precision: Precision = "fp32"
    """Arithmetic of the networks; auto is bf16 where the device computes in it, else fp32."""
    imagenet_weights: Path | None = None
    """torchvision's densenet121 IMAGENET1K_V1 file; without it torchvision's own cache or download is used."""
    xrv_weights: tuple[Path, ...] = ()
    """Files of torchxrayvision weights, for runs with kind = "xrv"."""
    tier: Literal["auto", "raw", "jpeg", "resident"] | None = None
    """Where images come from, as cxr train takes it."""
    augment_on: Literal["auto", "cpu", "device"] | None = None
    """Who flips and rotates images, as cxr train takes it."""
    compile: bool = False
    """Compile students with torch.compile, as cxr train takes it; runs share what is compiled."""
    checkpoint_minutes: float | None = None
    """Minutes between checkpoints inside an epoch, as cxr train takes it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes the GPUs when there are any."""
    dry_run: bool = False
    """Print the plan and start nothing."""

    def run(self) -> None:
        """Carry the plan out; exit with status 1 when a run failed or was blocked."""
        runs, facts, found = self.look()
        plan = decide(runs, found)
        if self.cluster is not None:
            if self.dry_run:
                print_plan(plan, estimate(runs, found, splits_of(facts)))
            self._queue(self.cluster, plan, facts)
            return
        if self.dry_run:
            print_plan(plan, estimate(runs, found, splits_of(facts)))
            return
        to_run = [decision.run for decision in plan if decision.action in ("run", "wait")]
        self._check_files(to_run)
        slots = make_slots(self.device, self.slots)
        threads = self.threads_per_run or max(1, num_cores() // len(slots))
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
                    options=self.train_options(),
                ),
                slots=slots,
                observer=observer,
                facts=facts,
                priority=critical_paths(runs, splits_of(facts)),
            )
            outcomes = executor.submit(plan)
        conclude(outcomes)

    def _queue(self, profile: Path, plan: Sequence[Decision], facts: Mapping[str, DatasetFacts]) -> None:
        """Hand the plan to a cluster's queue, or say what would be handed over."""
        from launch.executors.slurm.submit import Order, queue_grid

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
            options=self.train_options(),
        )
        outcomes = queue_grid(order, plan, facts, dry_run=self.dry_run)
        if not self.dry_run:
            conclude(outcomes)

    def train_options(self) -> tuple[str, ...]:
        """What is passed on to every ``cxr train`` as it is; files absolute, since jobs start elsewhere."""
        values: dict[str, Sequence[object]] = {
            "--xrv-weights": [path.resolve() for path in self.xrv_weights],
            "--tier": [self.tier],
            "--augment-on": [self.augment_on],
            "--checkpoint-minutes": [self.checkpoint_minutes],
        }
        given = {option: [word for word in words if word is not None] for option, words in values.items()}
        found = [str(word) for option, words in given.items() if words for word in (option, *words)]
        return (*found, "--compile") if self.compile else tuple(found)

    def _check_files(self, runs: Sequence[GridRun]) -> None:
        """Refuse at once what every run would stumble over."""
        if self.threads_per_run is not None and self.threads_per_run < 1:
            raise InputError(f"--threads-per-run {self.threads_per_run}: expected at least 1")
        if self.imagenet_weights is not None and not self.imagenet_weights.is_file():
            raise InputError(f"--imagenet-weights {self.imagenet_weights}: no such file")
        absent = [path for path in self.xrv_weights if not path.is_file()]
        if absent:
            raise InputError(f"--xrv-weights {absent[0]}: no such file")
        if self.checkpoint_minutes is not None and self.checkpoint_minutes < 0:
            raise InputError(f"--checkpoint-minutes {self.checkpoint_minutes:g}: expected at least 0")
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


def splits_of(facts: Mapping[str, DatasetFacts]) -> dict[str, dict[str, int]]:
    """Number of images by dataset and split, of the betons that are there."""
    return {dataset: fact.splits for dataset, fact in facts.items()}


def positive_rate(images_per_s: float | None) -> float | None:
    """The given throughput.

    Raises:
        InputError: when it is not above 0.
    """
    if images_per_s is not None and not 0.0 < images_per_s < math.inf:
        raise InputError(f"--images-per-s {images_per_s:g}: expected a number above 0")
    return images_per_s


def print_json(document: object) -> None:
    """Print JSON alone on standard output."""
    print(json.dumps(document, indent=2, allow_nan=False))
