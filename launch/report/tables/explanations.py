"""How well each cell's maps find boxed lesions (``cxr explain RUN --boxes FILE``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import Field

from datasets.errors import InputError
from datasets.files import parse_as, read_json_object
from launch.report.content import Item, Note, ReportData
from launch.report.read.collect import Run
from launch.report.read.names import word
from launch.report.statistics.cells import Cell, grouped, summarise
from launch.report.tables.table import Table, Value, cell_notes, number_columns, row, run_links, text_columns

KINDS = {"attention": "attention map", "grad_cam": "Grad-CAM"}
NOTE = (
    "Pointing is the share of images, in percent, whose map has its maximum in a box, a mean over labels; by chance "
    "is the share of the image that the boxes cover. IoU, in percent, is that of the boxes with what is at least "
    "{share} of the map's maximum. Maps are at the attention tap; boxes: {file}, split {split}, labels {labels}."
)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of one kind of map: means over labels, or of one label."""

    images: int
    pointing: float = Field(ge=0, le=1)
    iou: float = Field(ge=0, le=1)
    chance: float = Field(ge=0, le=1)


@dataclass(frozen=True, kw_only=True)
class MapScores:
    """Of one kind of map."""

    mean: Scores
    labels: dict[str, Scores]


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """The table of boxes."""

    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Explanations:
    """What the table needs of ``explanations.json``."""

    best_epoch: int
    boxes: Boxes
    split: str
    threshold: float
    methods: dict[str, MapScores]


class Scored(NamedTuple):
    """A run with what its maps were scored."""

    cell: Cell
    run: Run
    found: Explanations


def explanations(data: ReportData) -> list[Item]:
    """One table for each table of boxes, split and threshold; none where no run was scored."""
    scored, unusable = list[Scored](), list[Item]()
    for cell in data.cells:
        for run in cell.finished:
            try:
                scored += [Scored(cell, run, found) for found in _read(run)]
            except InputError as error:
                unusable.append(Note(f"Not used: {error}"))
    tables = grouped(scored, lambda item: (item.found.boxes.sha256, item.found.split, item.found.threshold))
    return [*unusable, *(_table(number, items) for number, items in enumerate(tables.values()))]


def _read(run: Run) -> Iterator[Explanations]:
    """Yield the scores of the weights that the run ended with; those of other weights are passed over."""
    path = run.folder.explanations_file
    if path.exists():
        found = parse_as(Explanations, read_json_object(path), where=str(path))
        if run.result is not None and found.best_epoch == run.result.best_epoch:
            yield found


def _table(number: int, items: Sequence[Scored]) -> Table:
    first = items[0].found
    rows = []
    for scored in grouped(items, lambda item: id(item.cell)).values():
        cell = scored[0].cell
        kinds = dict.fromkeys(kind for item in scored for kind in item.found.methods)
        words = (*map(word, cell.label.group), cell.method_text, word(cell.label.network))
        for kind in kinds:
            means = [item.found.methods[kind].mean for item in scored if kind in item.found.methods]
            values = [_percent([getattr(mean, name) for mean in means]) for name in ("pointing", "chance", "iou")]
            images = Value((f"{means[0].images:,}",), sort=means[0].images, links=run_links(cell))
            rows.append(row(*words, KINDS.get(kind, kind), *values, images))
    names = ("Trained on", "Training images", "Initial weights", "Method", "Network", "Map")
    labels = ", ".join(next(iter(first.methods.values())).labels)
    note = NOTE.format(share=f"{first.threshold:g}", file=first.boxes.file, split=first.split, labels=labels)
    return Table(
        key="explanations" + (f"-{number + 1}" if number else ""),
        title="Explanations: maps and boxes (percent)",
        columns=(*text_columns(*names), *number_columns("Pointing", "By chance", "IoU", "Images")),
        rows=tuple(rows),
        notes=(note, *cell_notes(item.cell for item in items)),
    )


def _percent(values: Sequence[float]) -> Value:
    """Mean of the repetitions with its interval."""
    found = summarise(100 * value for value in values)
    assert found is not None, "there is a repetition"
    half = "" if found.normal_half is None else f" ± {found.normal_half:.1f}"
    return Value((f"{found.mean:.1f}{half} (n={found.n})",), sort=found.mean)
