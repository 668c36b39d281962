"""Group runs into cells, the repetitions of one configuration, and score them over the same labels.

The paper averages three repetitions. Its interval is read as 1.96 s / sqrt(n) with s over n - 1 degrees of freedom;
Student's interval, which is the honest one at n = 3, stands beside it.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal, TypeVar

from harness.config import AttentionTransfer, BetaSearch, RunConfig
from launch.report.read.collect import Run, TestScore
from launch.report.read.names import CellLabel, cell_label, flat_fields, word

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)
POINTS = 100.0
"""The paper prints AUROC times 100; a point is a hundredth of AUROC."""
NORMAL_QUANTILE = 1.96
"""The rounded value that the field uses, so that our figures equal the paper's to the printed digit."""
Role = Literal["search", "prerequisite", "student"]
ROLES: tuple[Role, ...] = ("search", "prerequisite", "student")
"""What other runs make of a cell; the first that applies to a repetition is the cell's."""


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Items by their key; keys and the items of a key in order of appearance."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


@dataclass(frozen=True)
class Summary:
    """Scores of the repetitions of one cell, in the unit they came in; a single one has no interval (None)."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not all(map(math.isfinite, self.values)):
            raise ValueError(f"a summary needs one finite value or more, got {self.values}")

    @property
    def n(self) -> int:
        return len(self.values)

    @cached_property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @cached_property
    def std(self) -> float | None:
        """Standard deviation with n - 1 in the denominator (ddof 1)."""
        return statistics.stdev(self.values, self.mean) if self.n > 1 else None

    @property
    def normal_half(self) -> float | None:
        """Half-width 1.96 s / sqrt(n), the paper's ±."""
        return None if self.std is None else NORMAL_QUANTILE * self.std / math.sqrt(self.n)

    @property
    def t_half(self) -> float | None:
        """Half-width of Student's interval with n - 1 degrees of freedom."""
        return None if self.std is None else t_quantile(self.n - 1) * self.std / math.sqrt(self.n)


def summarise(values: Iterable[float]) -> Summary | None:
    """Summary of ``values``; None when there are none."""
    found = tuple(values)
    return Summary(found) if found else None


@cache
def t_quantile(degrees: float) -> float:
    """Two-sided 95 % quantile of Student's t: 12.706 at 1 degree of freedom, 4.303 at 2; at infinitely many 1.960."""
    from scipy.special import stdtrit  # scipy.stats.t.ppf without importing scipy.stats, which takes a second

    if degrees < 1:
        raise ValueError(f"degrees of freedom must be at least 1, got {degrees}")
    return float(stdtrit(degrees, 0.975))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The repetitions of one configuration, which differ in the seed alone, by seed."""

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
        return summarise(value for value in self.points if value is not None)

    @property
    def finished(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.result is not None)

    @property
    def phantom(self) -> bool:
        return any(run.phantom for run in self.runs)

    @property
    def num_unfinished(self) -> int:
        return len(self.runs) - len(self.finished)

    @property
    def precision(self) -> str:
        """The distinct arithmetics of the finished repetitions, as far as they were recorded."""
        return " and ".join(sorted({run.precision for run in self.finished if run.precision}))

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


def comparable_scores(runs: Iterable[Run]) -> tuple[dict[str, float | None], tuple[str, ...]]:
    """Test scores that may be compared within a dataset, and what a reader must know before comparing.

    A label whose test split has one class has no AUROC, and two runs averaged over different labels cannot be
    compared: the mean is taken over the labels that every finished run of the dataset has.

    Returns:
        Points (100 x mean AUROC) by run id, of the finished runs, None where no label is common to all; and notes.
    """
    points: dict[str, float | None] = {}
    notes: list[str] = []
    done = [run for run in runs if run.result is not None]
    for dataset, members in sorted(grouped(done, lambda run: run.config.data.dataset).items()):
        tests = {run.run_id: run.result.test for run in members if run.result is not None}
        common = frozenset.intersection(*(test.defined for test in tests.values()))
        for run_id, test in tests.items():
            mean = test.mean_auroc if test.defined == common else test.mean_over(common)
            points[run_id] = None if mean is None else POINTS * mean
        notes += [f"{word(dataset)}: {text}" for text in _label_notes(tests, common)]
        hashes = {run.content_hash for run in members if run.content_hash}
        if len(hashes) > 1:
            short = ", ".join(sorted(value[:10] for value in hashes))
            notes.append(
                f"{word(dataset)}: THE RUNS READ {len(hashes)} DIFFERENT BETONS ({short}); compare with care"
            )
    return points, tuple(notes)


def _label_notes(tests: Mapping[str, TestScore], common: frozenset[str]) -> Iterator[str]:
    known = dict.fromkeys(label for test in tests.values() for label in test.auroc)
    somewhere = frozenset[str]().union(*(test.defined for test in tests.values()))
    undefined = [label for label in known if label not in somewhere]
    differing = [label for label in known if label in somewhere - common]
    if undefined:
        yield f"no AUROC for {', '.join(undefined)} (one class in the test split); left out of every mean"
    if differing:
        lacking = [run_id for run_id, test in tests.items() if not test.defined.issuperset(differing)]
        count = f"{len(lacking)} of {len(tests)} runs" if len(lacking) > 3 else ", ".join(lacking)
        yield (
            f"THE RUNS HAVE DIFFERENT LABELS: {', '.join(differing)} without AUROC in {count}; "
            f"every mean is taken anew over the {len(common)} labels that all runs have"
        )


def group_cells(runs: Sequence[Run], points: Mapping[str, float | None]) -> tuple[Cell, ...]:
    """Cells in the order of the tables; ``points`` are the comparable scores by run id."""
    roles = _roles(runs)
    cells = []
    for found in grouped(runs, lambda run: dataclasses.replace(run.config, seed=0).hash).values():
        members = tuple(sorted(found, key=lambda run: run.config.seed))
        config = members[0].config
        theirs = {roles.get(run.run_id, "student") for run in members}
        role = next(role for role in ROLES if role in theirs)
        scores = tuple(points.get(run.run_id) for run in members)
        cells.append(Cell(label=cell_label(config), config=config, role=role, runs=members, points=scores))
    cells.sort(key=lambda cell: (cell.label.order, cell.config.hash))
    return _tell_apart(cells)


def _roles(runs: Iterable[Run]) -> dict[str, Role]:
    """Run id to the use that another run makes of it; a run of a beta search stays one whatever else it is."""
    roles: dict[str, Role] = {}
    for run in runs:
        objective = run.config.objective
        if isinstance(objective, AttentionTransfer) and isinstance(objective.beta, BetaSearch):
            roles.update({point.run_id: "search" for point in objective.beta.runs})
        for needed in run.config.needs:
            roles.setdefault(needed.run_id, "prerequisite")
    return roles


def _tell_apart(cells: list[Cell]) -> tuple[Cell, ...]:
    """Cells with the same label are given the fields in which they differ; points of a search are apart anyway."""
    differs: dict[str, str] = {}
    for alike in grouped(cells, lambda cell: (cell.label, cell.role == "search")).values():
        fields = [flat_fields(cell.config) for cell in alike]
        known = dict.fromkeys(key for values in fields for key in values)
        keys = [key for key in known if len({values.get(key) for values in fields}) > 1]
        for cell, values in zip(alike, fields, strict=True):
            differs[cell.config.hash] = ", ".join(f"{key}={values.get(key, '')}" for key in keys)
    return tuple(dataclasses.replace(cell, differs=differs[cell.config.hash]) for cell in cells)
