"""What the weights of every cell have seen, and whether test patients are among it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from datasets.sources.registry import share_images
from launch.lineage.graph import Data, Lineage, Seen
from launch.lineage.patients import Verdict, finder, judge
from launch.report.content import ReportData
from launch.report.read.collect import Run
from launch.report.read.names import word
from launch.report.statistics.cells import Cell
from launch.report.tables.table import Table, Value, cell_notes, row, text_columns

ROLES = ("initial weights", "teacher", "beta search")
NOTE = (
    "Training images that reached the weights, through whatever they started from, learnt from and had beta chosen "
    "by; own training images are in the first columns. 'none': by the files no patient of the test split is among "
    "them. 'none known': the datasets are different ones, and their images were not compared (cxr doctor does). "
    "'not known': the datasets hold the same images, and the splits that were trained on are not at hand."
)


def what_weights_have_seen(data: ReportData) -> list[Table]:
    """One row for each cell but the points of searches."""
    runs = data.collection.runs
    lineage = Lineage((run.config for run in runs), {run.run_id: _hash(run) for run in runs})
    recorded: dict[str, dict[Path, None]] = defaultdict(dict)
    for run in runs:
        if run.beton is not None:
            recorded[run.config.data.dataset][run.beton] = None
    folder = data.options.data_dir

    def places(asked: Data) -> list[Path]:
        given = [] if folder is None else [folder / f"{asked.dataset}.beton"]
        return [*given, *recorded[asked.dataset]]

    find, verdicts = finder(places), dict[tuple[Data, Data], Verdict]()
    rows = []
    for cell in data.cells:
        if cell.role == "search":
            continue
        run = (cell.finished or cell.runs)[0]
        scored = Data(dataset=run.config.data.dataset, split="test", content_hash=_hash(run))
        seen = lineage.seen(lineage.add(run.config))
        for item in seen:
            if (item.data, scored) not in verdicts:
                related = share_images(item.data.dataset, scored.dataset)
                verdicts[item.data, scored] = judge(item.data, scored, find if related else lambda _: None)
        words = (*map(word, cell.label.group), word(cell.label.network), cell.method_text)
        reached = (_reached(seen, role) for role in ROLES)
        rows.append(row(*words, *reached, _tested(seen, [verdicts[item.data, scored] for item in seen])))
    names = ("Trained on", "Training images", "Initial weights", "Network", "Method")
    heads = ("Seen by initial weights", "Seen by the teacher", "Seen by the beta search", "Test patients among it")
    table = Table(
        key="weights-have-seen",
        title="What the weights have seen",
        columns=text_columns(*names, *heads),
        rows=tuple(rows),
        notes=(NOTE, *cell_notes(_shown(data.cells))),
    )
    return [table] if rows else []


def _shown(cells: tuple[Cell, ...]) -> list[Cell]:
    return [cell for cell in cells if cell.role != "search"]


def _hash(run: Run) -> str | None:
    return f"sha256:{run.content_hash}" if run.content_hash else None


def _reached(seen: list[Seen], role: str) -> str:
    """``ChestX-ray14, MIMIC-CXR (1k)``: the training images that came by this way."""
    found = (item.data for item in seen if item.role == role and item.data.split in ("train", None))
    texts = (word(data.dataset) + ("" if data.subset == "full" else f" ({data.subset})") for data in found)
    return ", ".join(dict.fromkeys(texts)) or "-"


def _tested(seen: list[Seen], verdicts: list[Verdict]) -> Value:
    """The worst of the verdicts, and by what ways it comes."""
    by_level: dict[str, dict[str, None]] = defaultdict(dict)
    for item, verdict in zip(seen, verdicts, strict=True):
        leaks = ", ".join(f"{leak.count:,} {leak.kind}" for leak in verdict.leaks if not leak.blank)
        by_level[verdict.level][f"{item.role}: {leaks}" if leaks else item.role] = None
    if by_level["seen"]:
        return Value(tuple(f"SEEN, {text}" for text in by_level["seen"]), sort="0", mark="doubtful")
    if by_level["unknown"]:
        return Value((f"not known ({', '.join(by_level['unknown'])})",), sort="1", mark="doubtful")
    return Value(("none known",), sort="2") if by_level["unrelated"] else Value(("none",), sort="3")
