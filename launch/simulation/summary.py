"""Summarise replays with several seeds: medians and ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from launch.simulation.engine import Replay, simulate
from launch.simulation.model import Allocation, SimulatedRun, troubles


@dataclass(frozen=True)
class Spread:
    """A figure over all seeds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What an allocation of one size gives."""

    gpus: int
    nodes: int
    bound_h: float
    """No schedule ends earlier."""
    makespan_h: Spread
    utilisation: Spread
    """Share of the allocation's GPU-hours, from start to end, in which runs were on the GPUs."""
    used: Spread
    """GPU-hours with runs on the GPUs."""
    lost: Spread
    """Of these, GPU-hours of what had to be computed again."""
    starting: Spread
    """Of these, GPU-hours before the first steps of starts."""
    restarts: Spread
    failed: Spread
    preempted: Spread
    timed_out: Spread


def summarise(runs: Sequence[SimulatedRun], allocation: Allocation, seeds: int) -> Summary:
    """Replay with seeds 0, 1, ... and take medians.

    Raises:
        ValueError: when the runs get nowhere.
    """
    replays = [simulate(runs, allocation, troubles(allocation, seed)) for seed in range(seeds)]
    names = ("makespan_h", "used", "lost", "starting", "restarts", "failed", "preempted", "timed_out")
    figures = {name: [float(getattr(replay, name)) for replay in replays] for name in names}
    figures["utilisation"] = [utilisation(replay, allocation) for replay in replays]
    return Summary(
        gpus=allocation.gpus,
        nodes=-(-allocation.gpus // allocation.gpus_per_node),
        bound_h=allocation.lower_bound_h(runs),
        **{name: Spread(median(values), min(values), max(values)) for name, values in figures.items()},
    )


def utilisation(replay: Replay, allocation: Allocation) -> float:
    """Return the share of the allocation's GPU-hours in which runs were on the GPUs, 0..1."""
    held = allocation.gpus * replay.makespan_h
    return replay.used / held if held else 0.0
