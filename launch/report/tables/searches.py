"""What successive halving did to the points of beta searches, beside the full searches where they are there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from harness.config import BetaSearch
from launch.report.content import Item, Note, ReportData
from launch.report.read.collect import Result
from launch.report.read.names import cell_label, word
from launch.report.tables.table import Table, Value, number_columns, number_value, points_value, row, text_columns

NOTE = (
    "A point is stopped at the end of a rung when too many others have a larger best validation AUROC so far, in "
    "points; of equal ones the smaller beta goes on. Full search: the same of a run of the point to the end. How "
    "often halving chose as the full search did on made-up images: docs/grid.md and benchmarks/halving.json."
)


class Point(NamedTuple):
    """How far a point came."""

    beta: float
    rung: int
    """The last one that it was trained in, from 0."""
    epochs: int | None
    score: float
    """Its best validation AUROC by then, 0..1."""


def searches(data: ReportData) -> Iterator[Item]:
    """Yield whether each search chose as the full one, and one table with a row for each point."""
    results = {run.run_id: run.result for run in data.collection.runs if run.result is not None}
    found: dict[str, BetaSearch] = {}
    for run in data.collection.runs:
        if run.config.promotion is not None:
            search = dataclasses.replace(run.config.promotion, rung=None, rank=0)
            found[search.runs[0].run_id] = search
    rows: list[tuple[Value, ...]] = []
    lost: dict[str, list[float]] = {"same": [], "another": []}
    for search in found.values():
        label, full = cell_label(search.template), full_scores(search, results)
        where = (*map(word, label.group), word(label.network), label.method_text)
        rungs = tried(search, results)
        last = {point.beta: point for points in rungs for point in points}
        yield Note(f"{', '.join(where)}: {choices(search, rungs, full)}")
        if has_ended(search, rungs) and len(full) == len(search.points):
            chosen = rungs[-1][0].beta
            lost["same" if chosen == best_of(full) else "another"].append(full[best_of(full)] - full[chosen])
        for point in (last[beta] for beta in search.points if beta in last):
            fate = (number_value(point.beta, "g"), number_value(point.epochs, "d"), points_value(point.score))
            rows.append(row(*where, *fate, _outcome(search, point, rungs), points_value(full.get(point.beta))))
    yield from _how_often(lost["same"], lost["another"])
    if rows:
        heads = text_columns("Trained on", "Training images", "Initial weights", "Network", "Method")
        columns = (*heads, *number_columns("Beta", "Epochs", "AUROC then"), *text_columns("Outcome"))
        columns += number_columns("Full search")
        yield Table(
            key="searches", title="Beta searches by halving", columns=columns, rows=tuple(rows), notes=(NOTE,)
        )


def tried(search: BetaSearch, results: Mapping[str, Result]) -> list[list[Point]]:
    """The points of each rung that are there, best first."""
    found = []
    for rung in range(len(search.rungs)):
        points = []
        for place, run in enumerate(search.runs_of(rung)):
            result = results.get(run.run_id)
            beta = search.points[place] if rung == 0 else None if result is None else result.beta
            if result is not None and beta is not None and result.validation.mean_auroc is not None:
                points.append(Point(beta, rung, result.epochs, result.validation.mean_auroc))
        found.append(sorted(points, key=lambda point: (-point.score, point.beta)))
    return found


def full_scores(search: BetaSearch, results: Mapping[str, Result]) -> dict[float, float]:
    """Validation AUROC of the runs of the full search that are there, by beta."""
    runs = zip(search.points, search.full.runs, strict=True)
    scores = {beta: results[run.run_id].validation.mean_auroc for beta, run in runs if run.run_id in results}
    return {beta: score for beta, score in scores.items() if score is not None}


def _how_often(same: Sequence[float], another: Sequence[float]) -> Iterator[Note]:
    """Yield how often several searches chose as the full ones did, by what each lost in AUROC, 0..1."""
    count = len(same) + len(another)
    if count > 1:
        mean = 100.0 * sum((*same, *another)) / count
        words = f"halving chose the full search's beta in {len(same)} of {count} searches"
        yield Note(f"{words}; {mean:.2f} points of validation AUROC lost in the mean", terminal=True)


def best_of(full: Mapping[float, float]) -> float:
    """The beta that a full search chooses by these scores."""
    return min(full, key=lambda beta: (-full[beta], beta))


def has_ended(search: BetaSearch, rungs: list[list[Point]]) -> bool:
    """Whether all runs of the last rung are there."""
    return len(rungs[-1]) == search.rungs[-1].size


def choices(search: BetaSearch, rungs: list[list[Point]], full: Mapping[float, float]) -> str:
    """What both searches chose, in words; a part of a search chooses nothing."""
    if not has_ended(search, rungs):
        return "halving has not ended"
    chosen = f"halving chose beta {rungs[-1][0].beta:g}"
    if len(full) < len(search.points):
        return f"{chosen}; no full search to compare with"
    whole = best_of(full)
    same = rungs[-1][0].beta == whole
    return f"{chosen}, as the full search did" if same else f"{chosen}, the full search {whole:g}"


def _outcome(search: BetaSearch, point: Point, rungs: list[list[Point]]) -> str:
    if point.rung == len(search.rungs) - 1:
        return "trained to the end"
    rivals, words = rungs[point.rung], f"rung {point.rung + 1} of {len(search.rungs)}"
    if len(rivals) < search.rungs[point.rung].size:
        return f"waits for the others of {words}"
    return (
        f"goes on after {words}"
        if rivals.index(point) < search.rungs[point.rung + 1].size
        else f"stopped after {words}"
    )
