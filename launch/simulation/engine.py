"""Replay runs on a simulated cluster, event after event, and take medians over seeds.

A run that can start waits its time in the queue and then takes the first free slot; of several the one with the
longest chain of runs behind it is first, as the executors have it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from graphlib import TopologicalSorter
from statistics import median
from typing import NamedTuple

from launch.simulation.model import Allocation, SimulatedRun, Trouble, troubles

MAX_RESTARTS = 1000
"""For each run, on average: a replay with more is one in which troubles come faster than checkpoints."""

Slot = tuple[int, int]
"""GPU, and place on it."""


@dataclass(kw_only=True)
class Replay:
    """What became of the runs; GPU-hours of a run that shares a GPU are its share of them."""

    makespan_h: float = 0.0
    used: float = 0.0
    """GPU-hours in which runs were on the GPUs."""
    lost: float = 0.0
    """Of these, spent on what had to be computed again."""
    starting: float = 0.0
    """Of these, spent before the first steps of starts."""
    restarts: int = 0
    failed: int = 0
    """Restarts after failures."""
    preempted: int = 0
    timed_out: int = 0


@dataclass
class _Progress:
    """One run while it is simulated."""

    run: SimulatedRun
    priority: float
    """Hours of the longest chain that it starts."""
    left_h: float
    """Hours at full speed that no checkpoint has."""
    slot: Slot | None = None
    started_h: float = 0.0
    start_number: int = 0
    """Tells the end of this start from that of an interrupted one."""


class _Simulation:
    """One replay."""

    def __init__(self, runs: Sequence[SimulatedRun], allocation: Allocation, coming: Iterable[Trouble]) -> None:
        """``runs`` are needs first; ``coming`` are the troubles in the order of their times."""
        self._allocation, self._coming = allocation, iter(coming)
        after: dict[str, float] = defaultdict(float)
        for run in reversed(runs):
            for need in run.needs:
                after[need] = max(after[need], run.hours + after[run.name])
        self._all = {run.name: _Progress(run, run.hours + after[run.name], run.hours) for run in runs}
        self._order = TopologicalSorter({run.name: run.needs for run in runs})
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        """Time, order of equal times, and what happens then."""
        self._count = itertools.count()
        self._ready: list[tuple[float, int, _Progress]] = []
        self._free: list[Slot] = [(gpu, k) for gpu in range(allocation.gpus) for k in range(allocation.runs_per_gpu)]
        self._running: dict[Slot, _Progress] = {}
        self._away: set[int] = set()
        self.replay = Replay()

    def go(self) -> Replay:
        """Simulate until every run has ended."""
        self._order.prepare()
        self._queue_ready(0.0)
        trouble = next(self._coming, None)
        while self._order.is_active():
            now = self._events[0][0] if self._events else math.inf
            if trouble is not None and trouble.time_h < now:
                if self.replay.restarts > MAX_RESTARTS * len(self._all):
                    raise ValueError("the runs get nowhere: troubles come faster than checkpoints")
                self._strike(trouble)
                trouble = next(self._coming, None)
                continue
            while self._events and self._events[0][0] == now:  # all of a moment, so that the first in line starts
                heapq.heappop(self._events)[2](now)
            self._fill(now)
        return self.replay

    def _at(self, time_h: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time_h, next(self._count), happens))

    def _queue_ready(self, now: float) -> None:
        """Queue the runs whose needs have ended by now."""
        for name in self._order.get_ready():
            self._queue(self._all[name], now)

    def _queue(self, progress: _Progress, now: float) -> None:
        progress.start_number += 1
        waiting = (-progress.priority, next(self._count), progress)
        self._at(now + self._allocation.queue_wait_h, lambda _: heapq.heappush(self._ready, waiting))

    def _back(self, gpu: int, _now: float) -> None:
        self._away.remove(gpu)
        for place in range(self._allocation.runs_per_gpu):
            heapq.heappush(self._free, (gpu, place))

    def _needed_h(self, progress: _Progress) -> float:
        return self._allocation.start_h + progress.left_h / self._allocation.speed

    def _fill(self, now: float) -> None:
        """Start what waits while there are slots."""
        while self._ready and self._free:
            progress = heapq.heappop(self._ready)[2]
            progress.slot, progress.started_h = heapq.heappop(self._free), now
            self._running[progress.slot] = progress
            ends = now + min(self._needed_h(progress), self._allocation.time_limit_h)
            self._at(ends, partial(self._stop, progress, progress.start_number))

    def _stop(self, progress: _Progress, start_number: int, now: float) -> None:
        """The run ends, or meets its time limit and saves, unless this start was interrupted."""
        if progress.start_number != start_number:
            return
        allocation = self._allocation
        over = self._needed_h(progress) > allocation.time_limit_h
        heapq.heappush(self._free, self._leave(progress, now))
        if over:
            self.replay.timed_out += 1
            self.replay.restarts += 1
            progress.left_h -= (allocation.time_limit_h - allocation.start_h) * allocation.speed
            self._queue(progress, now)
            return
        self._order.done(progress.run.name)
        self.replay.makespan_h = now
        self._queue_ready(now)

    def _leave(self, progress: _Progress, now: float) -> Slot:
        """Take the run off its slot and count the GPU-hours of its start."""
        slot, progress.slot = progress.slot, None
        assert slot is not None
        del self._running[slot]
        spent = now - progress.started_h
        self.replay.used += spent / self._allocation.runs_per_gpu
        self.replay.starting += min(spent, self._allocation.start_h) / self._allocation.runs_per_gpu
        return slot

    def _strike(self, trouble: Trouble) -> None:
        """End what runs where trouble strikes: on the GPU, or after a failure on its whole node."""
        first = trouble.gpu - trouble.gpu % self._allocation.gpus_per_node
        node = range(first, min(first + self._allocation.gpus_per_node, self._allocation.gpus))
        struck = [gpu for gpu in (node if trouble.kind == "failure" else [trouble.gpu]) if gpu not in self._away]
        for slot in sorted(slot for slot in self._running if slot[0] in struck):
            self._interrupt(self._running[slot], trouble)
        self._free = [slot for slot in self._free if slot[0] not in struck]
        heapq.heapify(self._free)
        for gpu in struck:
            self._away.add(gpu)
            self._at(trouble.time_h + self._allocation.away_h, partial(self._back, gpu))

    def _interrupt(self, progress: _Progress, trouble: Trouble) -> None:
        """Set the run back to what it saved last, and queue it again."""
        allocation, replay = self._allocation, self.replay
        computed_h = max(0.0, trouble.time_h - progress.started_h - allocation.start_h)
        saves = trouble.kind == "preemption" and allocation.saves_when_preempted
        saved_h = computed_h
        if not saves and allocation.checkpoint_h > 0.0:
            saved_h = math.floor(computed_h / allocation.checkpoint_h) * allocation.checkpoint_h
        self._leave(progress, trouble.time_h)
        progress.left_h -= saved_h * allocation.speed
        replay.lost += (computed_h - saved_h) / allocation.runs_per_gpu
        replay.failed += trouble.kind == "failure"
        replay.preempted += trouble.kind == "preemption"
        replay.restarts += 1
        self._queue(progress, trouble.time_h)


def simulate(runs: Sequence[SimulatedRun], allocation: Allocation, coming: Iterable[Trouble] = ()) -> Replay:
    """Replay the runs, needs first, on the allocation.

    Raises:
        ValueError: when troubles come faster than checkpoints, so that nothing ends.
    """
    return _Simulation(runs, allocation, coming).go()


class Spread(NamedTuple):
    """A figure over all seeds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """What an allocation of one size gives."""

    gpus: int
    nodes: int
    bound_h: float
    """No schedule ends earlier."""
    figures: dict[str, Spread]
    """Those of ``Replay``, and ``utilisation``."""


def summarise(runs: Sequence[SimulatedRun], allocation: Allocation, seeds: int) -> Summary:
    """Replay with seeds 0, 1, ... and take medians.

    Raises:
        ValueError: when the runs get nowhere.
    """
    replays = [simulate(runs, allocation, troubles(allocation, seed)) for seed in range(seeds)]
    columns = {name: [float(getattr(one, name)) for one in replays] for name in asdict(replays[0])}
    columns["utilisation"] = [utilisation(replay, allocation) for replay in replays]
    spreads = {name: Spread(median(values), min(values), max(values)) for name, values in columns.items()}
    nodes = -(-allocation.gpus // allocation.gpus_per_node)
    return Summary(allocation.gpus, nodes, allocation.lower_bound_h(runs), spreads)


def utilisation(replay: Replay, allocation: Allocation) -> float:
    """Share of the allocation's GPU-hours in which runs were on the GPUs, 0..1."""
    held = allocation.gpus * replay.makespan_h
    return replay.used / held if held else 0.0
