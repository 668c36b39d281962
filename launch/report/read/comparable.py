"""Score the finished runs of a dataset over the same labels, and say what was left out.

A label whose test split has one class has no AUROC. Two runs averaged over different labels cannot be compared, so
the mean is taken over the labels that every finished run of the dataset has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from launch.report.read.collect import Run
from launch.report.read.names import word

POINTS = 100.0
"""The paper prints AUROC times 100; a point is a hundredth of AUROC."""


@dataclass(frozen=True)
class Scores:
    """Test scores that may be compared within a dataset."""

    points: dict[str, float | None]
    """Run id to 100 x mean AUROC; None where no label is common to all."""
    notes: tuple[str, ...]
    """What a reader must know before comparing; empty when all is as expected."""

    def of(self, run: Run) -> float | None:
        """Points of ``run``; None when it is not done or has none."""
        return self.points.get(run.run_id)


def comparable_scores(runs: Iterable[Run]) -> Scores:
    """Scores of the finished runs, dataset by dataset."""
    by_dataset: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.result is not None:
            by_dataset[run.config.data.dataset].append(run)
    points: dict[str, float | None] = {}
    notes: list[str] = []
    for dataset, members in sorted(by_dataset.items()):
        common = frozenset.intersection(*(run.result.test.defined for run in members if run.result))
        for run in members:
            assert run.result is not None
            test = run.result.test
            mean = test.mean_auroc if test.defined == common else test.mean_over(common)
            points[run.run_id] = None if mean is None else POINTS * mean
        notes.extend(_label_notes(dataset, members, common))
        notes.extend(_data_notes(dataset, members))
    return Scores(points, tuple(notes))


def _label_notes(dataset: str, members: list[Run], common: frozenset[str]) -> list[str]:
    tests = [run.result.test for run in members if run.result]
    known = dict.fromkeys(label for test in tests for label in test.auroc)
    left_out = [label for label in known if label not in common]
    if not left_out:
        return []
    everywhere = [label for label in left_out if not any(label in test.defined for test in tests)]
    notes = []
    if everywhere:
        names = ", ".join(everywhere)
        notes.append(f"{word(dataset)}: no AUROC for {names} (one class in the test split); left out of every mean")
    differing = [label for label in left_out if label not in everywhere]
    if differing:
        lacking = [run.run_id for run in members if run.result and not run.result.test.defined.issuperset(differing)]
        count = f"{len(lacking)} of {len(members)} runs" if len(lacking) > 3 else ", ".join(lacking)
        notes.append(
            f"{word(dataset)}: THE RUNS HAVE DIFFERENT LABELS: {', '.join(differing)} without AUROC in {count}; "
            f"every mean is taken anew over the {len(common)} labels that all runs have"
        )
    return notes


def _data_notes(dataset: str, members: list[Run]) -> list[str]:
    notes = []
    hashes = {run.content_hash for run in members if run.content_hash}
    if len(hashes) > 1:
        short = ", ".join(sorted(value[:10] for value in hashes))
        notes.append(f"{word(dataset)}: THE RUNS READ {len(hashes)} DIFFERENT BETONS ({short}); compare with care")
    return notes
