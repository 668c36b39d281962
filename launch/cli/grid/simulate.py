"""``cxr grid simulate``: replay what is left of a grid on a simulated cluster."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from datasets.errors import InputError
from launch.cli.grid.plan import GridOptions, print_json
from launch.plan.tables import hours_of, make_table, plural, print_tables
from launch.ranges import Amount, Count, Positive
from launch.simulation.engine import Spread, Summary, summarise
from launch.simulation.model import Allocation, SimulatedRun, runs_left

ASSUMPTIONS = (
    *("gpus_per_node", "runs_per_gpu", "sharing_gain", "failures_per_gpu_hour", "preemptions_per_gpu_hour"),
    *("no_notice", "checkpoint_min", "time_limit_h", "queue_wait_min", "start_min", "away_min", "seeds"),
)
HEADERS = ("GPUs", "nodes", "makespan", "at least", "utilisation", "GPU time used", "lost", "restarts")


@dataclass(frozen=True, kw_only=True)
class Simulate(GridOptions):
    """Replay what is left of a grid on a simulated cluster, to choose an allocation before asking for it.

    Medians over seeds, with the range where it is one. A run goes at the throughput that grid plan shows, saves every
    checkpoint, and starts again after failures, preemptions and time limits; the longest chain goes first.

    For example:
        cxr grid simulate paper --gpus 4 8 16 --failures-per-gpu-hour 1e-4 --preemptions-per-gpu-hour 0.02
    """

    gpus: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Sizes of the allocation, a row for each."""
    gpus_per_node: Count = 1
    """A failure ends all runs of its node."""
    images_per_s: Positive | None = None
    """As grid plan takes it."""
    from_scratch: bool = False
    """Count no run as done."""
    runs_per_gpu: Count = 1
    """Runs that share a GPU."""
    sharing_gain: float = 0.0
    """What each further run on a GPU adds to the work of one: 0 where one fills it, 1 where they share without
    loss."""
    failures_per_gpu_hour: Amount = 0.0
    """Of GPU or node, without notice: back to the last checkpoint."""
    preemptions_per_gpu_hour: Amount = 0.0
    """With notice, on which runs save."""
    no_notice: bool = False
    """Preemptions come without notice too."""
    checkpoint_min: float = 10.0
    """Minutes between checkpoints; cxr train saves every 10."""
    time_limit_h: Positive | None = None
    """Time limit of a job in hours; at it a run saves and is queued again."""
    queue_wait_min: Amount = 0.0
    """Minutes in the queue before each start."""
    start_min: Amount = 0.0
    """Minutes from a start to the first step."""
    away_min: Amount = 0.0
    """Minutes for which a GPU is gone after a failure or a preemption."""
    seeds: Count = 21
    """Replays of each size."""
    json: bool = False
    """Print JSON alone: grid, runs, gpu_hours_left, critical_path_h, throughput, assumptions, and for each size
    bound_h and median, low and high of makespan_h, utilisation, used, lost, starting (GPU-hours), restarts, failed,
    preempted, timed_out."""

    def run(self) -> None:
        view = self.look()
        cost = view.estimate(self.images_per_s)
        runs = runs_left(view.runs, cost.hours if self.from_scratch else cost.left)
        summaries = [self._summary(size, runs) for size in self.gpus]
        work = sum(run.hours for run in runs)
        if self.json:
            document = {
                "grid": self.grid,
                "runs": len(runs),
                "gpu_hours_left": work,
                "critical_path_h": Allocation(gpus=max(1, len(runs))).lower_bound_h(runs),
                "throughput": cost.throughput.source,
                "assumptions": {name: getattr(self, name) for name in ASSUMPTIONS},
                "sizes": [_document(summary) for summary in summaries],
            }
            print_json(document)
            return
        _print(summaries, self.seeds)
        print(f"{len(runs)} runs, {hours_of(work)} of GPU time left (throughput: {cost.throughput.source})")

    def _summary(self, gpus: int, runs: Sequence[SimulatedRun]) -> Summary:
        try:
            return summarise(runs, self._allocation(gpus), self.seeds)
        except ValueError as error:
            raise InputError(f"--gpus {gpus}: {error}") from None

    def _allocation(self, gpus: int) -> Allocation:
        return Allocation(
            gpus=gpus,
            gpus_per_node=self.gpus_per_node,
            runs_per_gpu=self.runs_per_gpu,
            sharing_gain=self.sharing_gain,
            failures=self.failures_per_gpu_hour,
            preemptions=self.preemptions_per_gpu_hour,
            checkpoint_h=self.checkpoint_min / 60.0,
            saves_when_preempted=not self.no_notice,
            time_limit_h=math.inf if self.time_limit_h is None else self.time_limit_h,
            queue_wait_h=self.queue_wait_min / 60.0,
            start_h=self.start_min / 60.0,
            away_h=self.away_min / 60.0,
        )


def _document(summary: Summary) -> dict[str, Any]:
    figures = {name: spread._asdict() for name, spread in summary.figures.items()}
    return {"gpus": summary.gpus, "nodes": summary.nodes, "bound_h": summary.bound_h, **figures}


def _print(summaries: Sequence[Summary], seeds: int) -> None:
    table = make_table(*HEADERS, right=HEADERS)
    for one in summaries:
        makespan, lost, restarts = (one.figures[name] for name in ("makespan_h", "lost", "restarts"))
        days = makespan.median / 24.0
        table.add_row(
            str(one.gpus),
            str(one.nodes),
            f"{hours_of(makespan.median)}{f' = {days:.1f} d' if days >= 2.0 else ''}{_range(makespan, hours_of)}",
            hours_of(one.bound_h),
            f"{100.0 * one.figures['utilisation'].median:.1f} %",
            hours_of(one.figures["used"].median),
            f"{hours_of(lost.median)}{_range(lost, hours_of)}",
            f"{restarts.median:g}{_range(restarts, '{:g}'.format)}",
        )
    print_tables([table])
    print(f"median, and range in brackets, of {plural(seeds, 'replay')}", file=sys.stderr)


def _range(spread: Spread, text: Callable[[float], str]) -> str:
    return "" if spread.low == spread.high else f" ({text(spread.low)}..{text(spread.high)})"
