"""``cxr grid submit --cluster``: an order and a plan come in; outcomes, or what would be queued, go out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from datasets.errors import InputError
from harness.runs.provenance import ROOT, git_state
from harness.runs.runtime import Precision
from launch.executors.base import Outcome
from launch.executors.slurm.executor import SlurmExecutor
from launch.executors.slurm.profile import ClusterConfig, load_profile
from launch.executors.slurm.queue import DEFAULT_MAX_ARRAY_SIZE, has_slurm
from launch.executors.slurm.sbatch import sbatch_parameters
from launch.executors.slurm.states import look_at_queue, with_queue
from launch.executors.train_command import TrainCommand
from launch.plan.cost import critical_paths
from launch.plan.decide import Decision, Found
from launch.plan.run_state import DatasetFacts, find_runs


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a person asked for; folders are absolute, since jobs start elsewhere."""

    grid: str
    runs_dir: Path
    data_dir: Path
    profile: Path
    precision: Precision
    imagenet_weights: Path | None
    allow_dirty: bool
    options: tuple[str, ...] = ()
    """Further arguments of ``cxr train``."""


def queue_grid(
    order: Order, plan: Sequence[Decision], facts: Mapping[str, DatasetFacts], *, dry_run: bool
) -> list[Outcome]:
    """Queue the plan's missing runs; a dry run prints the arrays, an sbatch option a line and a run's command.

    Raises:
        InputError: for a wrong profile, a changed checkout, no SLURM here, or a queue that refuses.
    """
    cluster = load_profile(order.profile)
    runs = [decision.run for decision in plan]
    command = TrainCommand(
        runs_dir=order.runs_dir,
        data_dir=order.data_dir,
        precision=order.precision,
        device=cast(Literal["auto", "cpu", "cuda"], cluster.device),
        num_threads=cluster.threads_per_run,
        imagenet_weights=order.imagenet_weights,
        options=order.options,
    )

    def look() -> dict[str, Found]:
        view = look_at_queue(order.runs_dir)
        return with_queue(runs, find_runs(runs, order.runs_dir, facts), view, order.runs_dir)

    executor = SlurmExecutor(
        grid=order.grid,
        runs_dir=order.runs_dir,
        command=command,
        cluster=cluster,
        look=look,
        priority=critical_paths(runs, {dataset: fact.splits for dataset, fact in facts.items()}),
    )
    if dry_run:
        print_stages(executor, plan, cluster, command)
        return []
    if not has_slurm():
        raise InputError("--cluster: sbatch or squeue is not on the PATH; submit on a host of the cluster")
    refuse_changed_code(order.allow_dirty)
    return executor.submit(plan)


def refuse_changed_code(allow_dirty: bool) -> None:
    """Refuse to queue uncommitted code.

    Raises:
        InputError: when the checkout has changes: runs would read them whenever they start.
    """
    state = git_state(ROOT)
    if state is not None and state["dirty"] and not allow_dirty:
        raise InputError(
            f"{ROOT}: the checkout has uncommitted changes, and queued runs read the code when they start; "
            "commit, or give --allow-dirty"
        )


def print_stages(
    executor: SlurmExecutor, plan: Sequence[Decision], cluster: ClusterConfig, command: TrainCommand
) -> None:
    """Print what would be queued."""
    runs = [decision.run for decision in plan if decision.action in ("run", "wait")]
    stages = executor.stages(runs, {})
    arrays = sum(-(-len(stage) // DEFAULT_MAX_ARRAY_SIZE) for stage in stages)
    for number, stage in enumerate(stages):
        num_runs = sum(len(task.runs) for task in stage)
        waits = len({task.needs for task in stage if task.needs})
        print(f"stage {number}: {num_runs} runs in {len(stage)} jobs, {waits} different sets of needs")
    print(f"{arrays} {'call' if arrays == 1 else 'calls'} of sbatch, each with:")
    for key, value in sbatch_parameters(cluster, "cxr-GRID-ID", None).items():
        if value not in (None, [], {}):
            print(f"  {key} = {value}")
    if runs:
        print(f"a run's command:\n  {shlex.join(command(runs[0]))}")
