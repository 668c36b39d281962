"""Parts of a simulation: runs with their hours, an allocation of GPUs, and its failures and preemptions."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from launch.grids.grid import GridRun

TroubleKind = Literal["failure", "preemption"]


@dataclass(frozen=True, kw_only=True)
class SimulatedRun:
    """One run that is still to be computed."""

    name: str
    hours: float
    """What it takes on a GPU of its own without any trouble."""
    needs: tuple[str, ...] = ()
    """Names of runs that must end before it starts."""


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """GPUs for a time, and how their runs are kept; times in hours, rates in 1 per GPU and hour."""

    gpus: int
    gpus_per_node: int = 1
    """A failure ends every run of its node."""
    runs_per_gpu: int = 1
    sharing_gain: float = 0.0
    """Runs that share a GPU get 1 + gain x (runs_per_gpu - 1) times the work of one done: 0 where one fills it, 1
    where they do not feel each other. A run goes at its share whether or not the others are there."""
    failures: float = 0.0
    preemptions: float = 0.0
    checkpoint_h: float = 1.0 / 6.0
    """Time between two checkpoints of a run."""
    saves_when_preempted: bool = True
    """Whether a preemption gives notice, on which runs save; a failure gives none."""
    time_limit_h: float = math.inf
    """Runs save at the time limit and are queued again."""
    queue_wait_h: float = 0.0
    """From the moment that a run can start to its start, each time that it is queued."""
    start_h: float = 0.0
    """From a run's start to its first step: modules, data, compilation."""
    away_h: float = 0.0
    """How long a GPU is gone after a failure or a preemption."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning or no end."""
        counts = ("gpus", "gpus_per_node", "runs_per_gpu")
        amounts = ("failures", "preemptions", "checkpoint_h", "queue_wait_h", "start_h", "away_h")
        wrong = [f"{name} must be at least 1" for name in counts if not getattr(self, name) >= 1]
        wrong += [f"{name} must not be negative" for name in amounts if not 0.0 <= getattr(self, name) < math.inf]
        if not 0.0 <= self.sharing_gain <= 1.0:
            wrong.append("sharing_gain must lie in 0..1")
        if not wrong and self.gpus > self.gpus_per_node and self.gpus % self.gpus_per_node:
            wrong.append(f"gpus = {self.gpus} must be a multiple of gpus_per_node = {self.gpus_per_node}")
        if not self.time_limit_h > self.start_h:
            wrong.append("time_limit_h must be longer than start_h, or no run gets anywhere")
        if wrong:
            raise ValueError(wrong[0])

    @property
    def speed(self) -> float:
        """Of one run, relative to a run with a GPU of its own."""
        return (1.0 + self.sharing_gain * (self.runs_per_gpu - 1)) / self.runs_per_gpu

    def lower_bound_h(self, runs: Sequence[SimulatedRun]) -> float:
        """Return a time before which no schedule ends: the longest chain, or all work over all GPUs."""
        ends: dict[str, float] = {}
        for run in runs:
            ends[run.name] = run.hours + max((ends[need] for need in run.needs), default=0.0)
        work = sum(run.hours for run in runs) / (self.gpus * self.runs_per_gpu)
        return max(work, max(ends.values(), default=0.0)) / self.speed


@dataclass(frozen=True, order=True)
class Trouble:
    """An event that takes a GPU, or the whole node of it, at a time in hours."""

    time_h: float
    kind: TroubleKind
    gpu: int


def troubles(allocation: Allocation, seed: int) -> Iterator[Trouble]:
    """Yield failures and preemptions without end, a Poisson process for each GPU that the seed alone decides."""
    rates: dict[TroubleKind, float] = {"failure": allocation.failures, "preemption": allocation.preemptions}
    gpus = range(allocation.gpus)
    return heapq.merge(
        *(_stream(kind, rate, gpu, seed) for kind, rate in rates.items() if rate > 0.0 for gpu in gpus)
    )


def _stream(kind: TroubleKind, rate: float, gpu: int, seed: int) -> Iterator[Trouble]:
    draws, time_h = random.Random(f"{seed} {kind} {gpu}"), 0.0
    while True:
        time_h += draws.expovariate(rate)
        yield Trouble(time_h, kind, gpu)


def runs_left(runs: Sequence[GridRun], hours: Mapping[str, float]) -> tuple[SimulatedRun, ...]:
    """Return the runs that still take hours, each with those of its needs that do; ``runs`` are needs first."""
    left = [run for run in runs if hours[run.run_id] > 0.0]
    names = {run.run_id: run.name for run in left}
    return tuple(
        SimulatedRun(
            name=run.name, hours=hours[run.run_id], needs=tuple(names[need] for need in run.needs if need in names)
        )
        for run in left
    )
