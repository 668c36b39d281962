"""Scores of every cell on other datasets: trained on one, tested on another (``cxr evaluate RUN --on NAME``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.errors import InputError
from datasets.files import parse_as, read_json_object
from launch.report.content import Item, Note, ReportData
from launch.report.read.collect import Run, TestScore
from launch.report.read.names import word
from launch.report.statistics.cells import POINTS, Cell, grouped, summarise
from launch.report.tables.table import (
    Table,
    Value,
    cell_notes,
    interval_text,
    number_columns,
    row,
    run_links,
    text_columns,
)

NOTE = (
    "Points are 100 x mean test AUROC over the labels that both datasets have by name; below it, as 'own', the same "
    "labels and repetitions on the test split of the dataset trained on. ± is 1.96 s / sqrt(n)."
)


SEEN_NOTE = (
    "SEEN: patients of the split were in the training of the weights (--force-seen), so the score says too much."
)


Row = tuple[Cell, dict[str, list[tuple[Run, "Elsewhere"]]]]
"""A cell with the scores of its runs by the dataset that they were scored on."""


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """What the table needs of one file of ``evaluations``."""

    dataset: str
    split: str
    best_epoch: int
    test: TestScore
    seen_in_training: tuple[str, ...] = ()
    """What the weights have seen of the split; such a score was forced."""


def train_by_test(data: ReportData) -> list[Item]:
    """One row for each cell that was scored on another dataset, one column for each such dataset; none without."""
    found, unusable = list[Row](), list[Item]()
    for cell in data.cells:
        scores = list[tuple[Run, Elsewhere]]()
        for run in cell.finished:
            for path in sorted(run.folder.evaluations_dir.glob("*.json")):
                try:
                    scores += [(run, score) for score in _read(path, run)]
                except InputError as error:
                    unusable.append(Note(f"Not used: {error}"))
        if scores:
            groups = grouped(scores, lambda pair: pair[1].dataset)
            found.append((cell, groups))
    return [*unusable, *([_table(found)] if found else [])]


def _read(path: Path, run: Run) -> Iterator[Elsewhere]:
    """Yield the test scores of the weights that the run ended with; those of an earlier epoch's are passed over."""
    document = read_json_object(path)
    scores = {"test": {key: document.get(key) for key in ("mean_auroc", "auroc")}}
    score = parse_as(Elsewhere, {**document, **scores}, where=str(path))
    current = run.result is not None and score.best_epoch == run.result.best_epoch
    if current and score.split == "test" and score.test.mean_auroc is not None:
        yield score


def _table(found: Sequence[Row]) -> Table:
    datasets = sorted({name for _, by_dataset in found for name in by_dataset})
    rows = []
    for cell, by_dataset in found:
        words = (*map(word, cell.label.group), cell.method_text, word(cell.label.network))
        values = (_value(cell, by_dataset[name]) if name in by_dataset else Value(("-",)) for name in datasets)
        rows.append(row(*words, *values))
    seen = [SEEN_NOTE] if any(value.mark for values in rows for value in values) else []
    names = ("Trained on", "Training images", "Initial weights", "Method", "Network")
    return Table(
        key="train-by-test",
        title="Scores on other datasets (points)",
        columns=(*text_columns(*names), *number_columns(*map(word, datasets))),
        rows=tuple(rows),
        notes=(NOTE, *seen, *cell_notes(cell for cell, _ in found)),
    )


def _value(cell: Cell, pairs: Sequence[tuple[Run, Elsewhere]]) -> Value:
    there = summarise(POINTS * score.test.mean_auroc for _, score in pairs if score.test.mean_auroc is not None)
    assert there is not None  # _read passes over scores without a mean
    labels = frozenset(label for _, score in pairs for label in score.test.defined)
    own = (run.result.test.mean_over(labels) for run, _ in pairs if run.result)
    at_home = summarise(POINTS * value for value in own if value is not None)
    home = "" if at_home is None else f", own {interval_text(at_home, with_n=False)}"
    lines = (interval_text(there), f"{len(labels)} label{'s' * (len(labels) != 1)}{home}")
    if any(score.seen_in_training for _, score in pairs):
        return Value((*lines, "SEEN"), sort=there.mean, links=run_links(cell), mark="doubtful")
    return Value(lines, sort=there.mean, links=run_links(cell))
