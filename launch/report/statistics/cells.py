"""Group runs into cells: the repetitions of one configuration, which differ in the seed alone."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from harness.config import AttentionTransfer, BetaSearch, RunConfig
from launch.report.read.collect import Run
from launch.report.read.comparable import POINTS, Scores
from launch.report.read.names import CellLabel, cell_label, flat_fields
from launch.report.statistics.intervals import Summary, summarise

Role = Literal["student", "prerequisite", "search"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The repetitions of one configuration, by seed."""

    label: CellLabel
    config: RunConfig
    """The config of the first repetition."""
    role: Role
    runs: tuple[Run, ...]
    points: tuple[float | None, ...]
    """Comparable test score of each run in points; None while it is not done."""
    differs: str = ""
    """The fields by which this cell differs from another with the same label, as ``key=value``."""

    @cached_property
    def summary(self) -> Summary | None:
        """Mean and intervals over the finished repetitions."""
        return summarise(value for value in self.points if value is not None)

    @property
    def finished(self) -> tuple[Run, ...]:
        """Repetitions that are done."""
        return tuple(run for run in self.runs if run.result is not None)

    @property
    def phantom(self) -> bool:
        """Whether a repetition's images are made up."""
        return any(run.phantom for run in self.runs)

    @property
    def num_unfinished(self) -> int:
        return len(self.runs) - len(self.finished)

    @property
    def weights(self) -> tuple[float, ...]:
        """The distinct attention weights that the repetitions used; empty for transfer learning."""
        found = (run.result.attention_weight for run in self.finished if run.result)
        return tuple(sorted({weight for weight in found if weight is not None}))

    @property
    def method_text(self) -> str:
        """Method, teacher, scope and what tells this cell from its like."""
        return f"{self.label.method_text} ({self.differs})" if self.differs else self.label.method_text

    def label_mean(self, label: str) -> Summary | None:
        """AUROC of one label over the repetitions in points."""
        values = (run.result.test.auroc.get(label) for run in self.finished if run.result)
        return summarise(POINTS * value for value in values if value is not None)


def group_cells(runs: Iterable[Run], scores: Scores) -> tuple[Cell, ...]:
    """Cells in the order of the tables."""
    found = tuple(runs)
    roles = _roles(found)
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in found:
        groups[dataclasses.replace(run.config, seed=0).hash].append(run)
    cells = []
    for members in groups.values():
        members.sort(key=lambda run: run.config.seed)
        cells.append(
            Cell(
                label=cell_label(members[0].config),
                config=members[0].config,
                role=_role_of(members, roles),
                runs=tuple(members),
                points=tuple(scores.of(run) for run in members),
            )
        )
    cells.sort(key=lambda cell: (cell.label.order, cell.config.hash))
    return _tell_apart(cells)


def _roles(runs: tuple[Run, ...]) -> dict[str, Role]:
    """Run id to the use that another run makes of it; a run of a beta search stays one whatever else it is."""
    roles: dict[str, Role] = {}
    for run in runs:
        objective = run.config.objective
        if isinstance(objective, AttentionTransfer) and isinstance(objective.beta, BetaSearch):
            roles.update({point.run_id: "search" for point in objective.beta.runs})
        for needed in run.config.needs:
            roles.setdefault(needed.run_id, "prerequisite")
    return roles


def _role_of(members: list[Run], roles: dict[str, Role]) -> Role:
    found = {roles.get(run.run_id, "student") for run in members}
    for role in ("search", "prerequisite"):
        if role in found:
            return role
    return "student"


def _tell_apart(cells: list[Cell]) -> tuple[Cell, ...]:
    """Cells with the same label are given the fields in which they differ; points of a search are apart anyway."""
    by_label: dict[tuple[CellLabel, bool], list[Cell]] = defaultdict(list)
    for cell in cells:
        by_label[cell.label, cell.role == "search"].append(cell)
    differs: dict[str, str] = {}
    for alike in by_label.values():
        if len(alike) > 1:
            fields = [flat_fields(cell.config) for cell in alike]
            keys = [key for key in fields[0] if len({values.get(key) for values in fields}) > 1]
            for cell, values in zip(alike, fields, strict=True):
                differs[cell.config.hash] = ", ".join(f"{key}={values.get(key, '')}" for key in keys)
    return tuple(dataclasses.replace(cell, differs=differs.get(cell.config.hash, "")) for cell in cells)
