"""Select a part of a grid: the runs that fit what was asked for, and all that they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from datasets.errors import InputError, known_words
from harness.config import RunConfig
from launch.grids.grid import Grid, GridRun
from launch.grids.paper import TRAIN_SIZES


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Conditions that a run must all meet, options of the command line; an empty one is met by every run."""

    only: str | None = None
    """Only runs whose name contains this. With any choice of runs, those that they need stay in."""
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

    def choose(self, grid: Grid, *, with_needs: bool = True) -> tuple[GridRun, ...]:
        """Return the runs that meet all conditions, in the grid's order, by default with all that these need.

        Raises:
            InputError: for a value that no run of the grid has, or when no run meets all conditions.
        """
        chosen = [run for run in grid.runs if self.only is None or self.only in run.name]
        for option, (asked, values_of) in self._lists().items():
            known = sorted({value for run in grid.runs for value in values_of(run.config)}) if asked else []
            for value in asked:
                if value not in known:
                    words = known_words(value, known)
                    raise InputError(f"--{option} {value}: no run of grid {grid.name} has this; {words}")
            chosen = [run for run in chosen if not asked or not values_of(run.config).isdisjoint(asked)]
        if self.name is not None:
            chosen = [run for run in chosen if fnmatchcase(run.name, self.name)]
        if not chosen:
            what = "this in its name" if str(self) == f"--only {self.only}" else "all of this"
            raise InputError(f"{self}: no run of grid {grid.name} has {what}; see cxr grid plan")
        return grid.with_needs(run.run_id for run in chosen) if with_needs else tuple(chosen)

    def _lists(self) -> dict[str, tuple[tuple[str, ...], Callable[[RunConfig], set[str]]]]:
        return {
            "dataset": (self.dataset, lambda config: {config.data.dataset}),
            "size": (self.size, sizes_of),
            "method": (self.method, methods_of),
            "network": (self.network, lambda config: {config.network.name}),
        }

    def __str__(self) -> str:
        """Return the conditions as options of the command line."""
        words = [f"--{key} {value}" for key, value in (("only", self.only), ("name", self.name)) if value is not None]
        words += [f"--{option} {' '.join(asked)}" for option, (asked, _) in self._lists().items() if asked]
        return " ".join(words)


def sizes_of(config: RunConfig) -> set[str]:
    """Return the names by which a run's training size may be asked for."""
    return {config.data.subset, *(name for name, data in TRAIN_SIZES.items() if data == config.data)}


def methods_of(config: RunConfig) -> set[str]:
    """Return the names by which a run's method may be asked for."""
    objective = config.objective
    names = {str(objective.method), objective.tag}
    if objective.teacher is not None:
        names.add(f"{objective.tag}-{objective.teacher.source.removesuffix('_cxr')}")
    return names
