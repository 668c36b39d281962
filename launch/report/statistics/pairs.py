"""Find the pairs of cells that differ in the method alone, and compare them by a paired bootstrap."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from datasets.errors import InputError
from harness.config import TransferLearning
from launch.report.read.collect import PassedOver, Run
from launch.report.read.names import word
from launch.report.statistics.bootstrap import Bootstrap, Interval, Resampled, paired_intervals
from launch.report.statistics.cells import Cell
from launch.report.statistics.kept import GO_ON

MEAN = "Mean of the labels"


class Pair(NamedTuple):
    """A method with a teacher and transfer learning, all else in their configs the same."""

    base: Cell
    other: Cell

    @property
    def text(self) -> str:
        """Network, method and teacher in one phrase."""
        return f"{word(self.other.label.network)}, {self.other.method_text}"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A pair with its differences by label on one test split."""

    pair: Pair
    first: Resampled
    """A repetition of ``base``; labels, positives and counts of images and patients are the same for all."""
    bootstrap: Bootstrap
    intervals: tuple[Interval, ...]
    """One for each label, then one for their mean."""
    base_runs: tuple[Run, ...]
    other_runs: tuple[Run, ...]

    @property
    def cell(self) -> Cell:
        """The method's repetitions."""
        return self.pair.other

    @property
    def names(self) -> tuple[str, ...]:
        """What the intervals are of."""
        return (*self.first.labels, MEAN)


def find_pairs(cells: Sequence[Cell]) -> list[Pair]:
    """Every student with a teacher whose transfer-learning counterpart is there, both with a finished repetition."""
    finished = [cell for cell in cells if cell.finished]
    by_hash = {dataclasses.replace(cell.config, seed=0).hash: cell for cell in finished}
    found = []
    for cell in finished:
        if cell.role == "student" and not isinstance(cell.config.objective, TransferLearning):
            without = dataclasses.replace(cell.config, seed=0, objective=TransferLearning())
            base = by_hash.get(without.hash)
            found += [] if base is None else [Pair(base=base, other=cell)]
    return found


class Comparison(NamedTuple):
    """All pairs that were compared, and what was left out."""

    compared: tuple[Compared, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    notes: tuple[str, ...] = ()


def compare_pairs(pairs: Sequence[Pair], bootstrap: Bootstrap) -> Comparison:
    """Bootstrap every pair for which there is time; runs whose predictions cannot be used are left out and named.

    A pair whose runs were all resampled before takes no time; at least one other is begun whatever the time.
    """
    known: dict[str, Resampled] = {}
    passed_over: dict[str, PassedOver] = {}
    compared: list[Compared] = []
    waiting, began = 0, False
    end = time.monotonic() + bootstrap.seconds
    for pair in pairs:
        late = began and time.monotonic() > end
        runs = {run.run_id: run for cell in (pair.base, pair.other) for run in cell.finished}
        for run_id, run in runs.items():
            if run_id in known or run_id in passed_over:
                continue
            try:
                found = bootstrap.kept(run)
                if found is None and not late:
                    began, found = True, bootstrap.of(run)
            except InputError as error:
                reason = f"{error}; it has no part in the paired bootstrap"
                passed_over[run_id] = PassedOver(run.folder.path, "incomplete", reason)
                continue
            if found is not None:
                known[run_id] = found
        if runs.keys() - known.keys() - passed_over.keys():
            waiting += 1
        else:
            compared += _compare(pair, known, bootstrap, passed_over)
    notes = (f"paired bootstrap: {waiting} of {len(pairs)} pairs wait; {GO_ON}",) if waiting else ()
    return Comparison(tuple(compared), tuple(passed_over.values()), notes)


def _compare(
    pair: Pair, known: dict[str, Resampled], bootstrap: Bootstrap, passed_over: dict[str, PassedOver]
) -> list[Compared]:
    """The pair over its usable repetitions; none when a side has none. Runs of other test images are passed over."""
    base, other = ([run for run in cell.finished if run.run_id in known] for cell in (pair.base, pair.other))
    if not base or not other:
        return []
    first = known[base[0].run_id]
    for run in (*base, *other):
        if known[run.run_id].test_set != first.test_set:
            reason = f"predictions.parquet: not the test images of {base[0].run_id}, so the two cannot be paired"
            passed_over.setdefault(run.run_id, PassedOver(run.folder.path, "incomplete", reason))
    base, other = ([run for run in runs if known[run.run_id].test_set == first.test_set] for runs in (base, other))
    if not other:
        return []
    intervals = paired_intervals([known[run.run_id] for run in base], [known[run.run_id] for run in other])
    runs = {"base_runs": tuple(base), "other_runs": tuple(other)}
    return [Compared(pair=pair, first=first, bootstrap=bootstrap, intervals=tuple(intervals), **runs)]
