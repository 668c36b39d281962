"""Tell before a run is scored whether its weights have seen patients of the split."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from datasets.beton.reader import Beton
from harness.runs.folder import RunFolder, folders_by_id
from launch.lineage.graph import Data, Lineage, Trained
from launch.lineage.patients import finder, judge


class Exposure(NamedTuple):
    """What a run's weights have seen of a split, in sentences."""

    seen: tuple[str, ...]
    unknown: tuple[str, ...]
    """Where the datasets hold the same images and the files do not tell which were trained on."""


def exposure(folder: RunFolder, beton: Beton, split: str, data_dir: Path) -> Exposure:
    """Compare a split with the training images of a run and of all that its weights and its beta come from.

    Betons are looked for in ``data_dir`` and where the runs were trained from; the folders of other runs beside
    ``folder``, by whatever name, and where they were when it was trained.
    """
    config = folder.config()
    runs = [node.run_id for node in Lineage([config]).edges if isinstance(node, Trained)]
    folders = {run_id: RunFolder(folder.path.parent / run_id) for run_id in runs} | {config.run_id: folder}
    if not all(run.provenance_file.exists() for run in folders.values()):  # some may have names of their own
        named = folders_by_id(folder.path.parent, folder.provenance())
        folders |= {run_id: named[run_id] for run_id in runs if run_id in named and run_id != config.run_id}
    records = {run_id: run.provenance() for run_id, run in folders.items()}
    lineage = Lineage([config], {run_id: record.get("content_hash") for run_id, record in records.items()})
    recorded = [Path(path) for record in records.values() if isinstance(path := record.get("beton"), str)]
    find = finder(lambda data: [beton.path, data_dir / f"{data.dataset}.beton", *recorded])
    sidecar = beton.sidecar
    scored = Data(dataset=sidecar.dataset, split=split, content_hash=sidecar.content_hash)
    seen, unknown = list[str](), list[str]()
    for role, owner, data in lineage.seen(lineage.add(config)):
        if data.split not in ("train", None):
            continue
        verdict = judge(data, scored, find, trust_split=False)
        seen += [f"{role}, {owner.text}: {leak}" for leak in verdict.leaks if not leak.blank]
        if verdict.level == "unknown":
            unknown.append(f"{role}, {owner.text}, trained on {data.dataset}")
    return Exposure(tuple(seen), tuple(unknown))
