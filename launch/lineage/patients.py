"""Compare what weights have seen with the images that they are scored on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from datasets.errors import InputError
from datasets.sources.registry import parts_of, share_images
from harness.runs.folder import RunFolder, folders_by_id
from launch.lineage.graph import Data, Lineage, Trained

if TYPE_CHECKING:
    from datasets.beton.reader import Beton
    from datasets.splits.leaks import Leak


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether images that weights have seen are among those that they are scored on."""

    level: Literal["apart", "seen", "unknown", "unrelated"]
    """``apart`` by the files; ``seen``; ``unknown`` where the datasets hold the same images and no file tells more;
    ``unrelated`` where they do not, as far as the registry knows, and their betons are not both at hand."""
    leaks: tuple[Leak, ...] = ()
    """What they share; blank images, which tell nothing of a patient, are no reason to call it ``seen``."""


def finder(places: Callable[[Data], Iterable[Path]]) -> Callable[[Data], Beton | None]:
    """A function that gives the beton of some data: the first of ``places`` with its content hash, else None."""
    from datasets.beton.mixed import open_beton

    @cache
    def opened(path: Path) -> Beton | None:
        try:
            return open_beton(path)
        except InputError:
            return None

    @cache
    def find(data: Data) -> Beton | None:
        found = filter(None, map(opened, places(data)))
        return next((beton for beton in found if beton.sidecar.content_hash == data.content_hash), None)

    return find


def judge(seen: Data, scored: Data, find: Callable[[Data], Beton | None], *, trust_split: bool = True) -> Verdict:
    """Compare seen data with a split that is scored; ``find`` gives the beton of the data's hash, if it is at hand.

    Two splits of one beton are by patient, which ``cxr doctor`` checks, and are taken to be apart; without
    ``trust_split`` their patients are compared too.
    """
    related = share_images(scored.dataset, seen.dataset)
    if seen.split is None:
        return Verdict(level="unknown" if seen.dataset in parts_of(scored.dataset) else "unrelated")
    one_beton = seen.content_hash is not None and seen.content_hash == scored.content_hash
    if trust_split and one_beton and seen.split != scored.split:
        return Verdict(level="apart")
    train, test = find(seen), find(scored)
    if train is None or test is None:
        return Verdict(level="apart" if one_beton else "unknown" if related else "unrelated")
    leaks = tuple(_overlap(train, seen, test, scored, related=related))
    return Verdict(level="seen" if any(not leak.blank for leak in leaks) else "apart", leaks=leaks)


def _overlap(train: Beton, seen: Data, test: Beton, scored: Data, *, related: bool) -> list[Leak]:
    """Patients and images of one split that are in another.

    Patients and files are compared by name where the datasets are ``related``: elsewhere patient 1 is another one.
    Within one beton patients alone are.
    """
    from datasets.beton.mixed import MixedBeton, with_dataset
    from datasets.splits.leaks import shared_images, shared_names

    here, there = _rows(train, seen), _rows(test, scored)
    if here is None or there is None:
        return []
    what = "training" if seen.split == "train" else str(seen.split)
    between = f"both its {what} images and the {scored.split} split of {test.path.name}"
    one_beton = train.sidecar.content_hash == test.sidecar.content_hash
    found = [] if one_beton else shared_images(train, here, test, there, between)
    mixed = any(isinstance(beton, MixedBeton) for beton in (train, test))
    tables = [with_dataset(beton) if mixed else beton.samples for beton in (train, test)]
    kinds = (("patients", "patient"), ("images by name", "name"))
    for kind, column in kinds[:1] if one_beton else kinds if related else ():
        ours, theirs = (table[column].iloc[rows] for table, rows in zip(tables, (here, there), strict=True))
        found += shared_names(map(str, ours), map(str, theirs), kind, between)
    return found


def _rows(beton: Beton, data: Data) -> np.ndarray | None:
    try:
        return beton.indices(str(data.split), data.subset)
    except InputError:
        return None


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
        seen += [f"{role}, {owner.name}: {leak}" for leak in verdict.leaks if not leak.blank]
        if verdict.level == "unknown":
            unknown.append(f"{role}, {owner.name}, trained on {data.dataset}")
    return Exposure(tuple(seen), tuple(unknown))
