"""A grid of runs: named configs, checked and ordered so that each run follows those it needs. No torch import."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from harness.config import RunConfig

Kind = Literal["prerequisite", "search", "repetition"]


@dataclass(frozen=True, kw_only=True)
class GridRun:
    """One run of a grid: its config, why it is there and which tables its score enters."""

    name: str
    """Readable name, unique in its grid; unlike the run id it says which repetition or search point this is."""
    kind: Kind
    """``prerequisite`` (weights that others start from), ``search`` (a point of a beta search), ``repetition``."""
    config: RunConfig
    cells: tuple[str, ...] = ()
    """Tables of the report that the run's score enters: 2a, 2b, 3, 5 of the paper, or demo."""

    @cached_property
    def run_id(self) -> str:
        """Name of the run folder."""
        return self.config.run_id

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """Ids of the runs that must be done first: initial weights, teacher, the points of a beta search."""
        return tuple(need.run_id for need in self.config.needs)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Runs with distinct ids and names, each after the runs that it needs.

    Raises:
        ValueError: for two runs with one id or one name, or a need that is not in the grid.
    """

    name: str
    runs: tuple[GridRun, ...]

    def __post_init__(self) -> None:
        _refuse_repeated("name", [run.name for run in self.runs], self.runs)
        _refuse_repeated("run id", [run.run_id for run in self.runs], self.runs)
        missing = [f"{run.name} needs {need}" for run in self.runs for need in run.needs if need not in self.by_id]
        if missing:
            raise ValueError(f"grid {self.name}: a need is not in the grid: {missing[0]}")
        object.__setattr__(self, "runs", needs_first(self.runs))

    @cached_property
    def by_id(self) -> dict[str, GridRun]:
        """The runs by run id."""
        return {run.run_id: run for run in self.runs}

    def with_needs(self, run_ids: Iterable[str]) -> tuple[GridRun, ...]:
        """Return these runs and all that they need, in the grid's order."""
        chosen = set(run_ids)
        for run in reversed(self.runs):
            if run.run_id in chosen:
                chosen.update(run.needs)
        return tuple(run for run in self.runs if run.run_id in chosen)


def _refuse_repeated(what: str, values: Sequence[str], runs: Sequence[GridRun]) -> None:
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        names = [run.name for run, value in zip(runs, values, strict=True) if value == repeated[0]]
        raise ValueError(f"two runs of a grid share the {what} {repeated[0]} ({', '.join(names)})")


def needs_first(runs: Sequence[GridRun]) -> tuple[GridRun, ...]:
    """Return the runs in their given order, except that each comes after those of its needs that are among them.

    There are no cycles: a config holds the configs that it needs.
    """
    by_id = {run.run_id: run for run in runs}
    ordered: dict[str, GridRun] = {}

    def place(run: GridRun) -> None:
        if run.run_id in ordered:
            return
        for need in run.needs:
            if need in by_id:
                place(by_id[need])
        ordered[run.run_id] = run

    for run in runs:
        place(run)
    return tuple(ordered.values())
