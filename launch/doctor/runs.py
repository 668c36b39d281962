"""Check run folders: broken runs, and weights that have seen a test image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.errors import InputError
from harness.config import RunConfig, Weights
from harness.runs.folder import RunFolder
from launch.doctor.finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from datasets.beton.reader import Beton
    from datasets.splits.leaks import Leak

NIH = ("chestxray14", "chestxray14_5.6k")
"""Two names for images of one hospital: patients and images have the same names in both."""
XRV_SEEN = {
    "all": ("chexpert", "chestxray14", "chestxray14_5.6k", "mimic_cxr"),
    "nih": NIH,
    "rsna": NIH,
    "pc": (),
    "chex": ("chexpert",),
    "mimic_nb": ("mimic_cxr",),
    "mimic_ch": ("mimic_cxr",),
}
"""Our datasets among those that torchxrayvision's weights were trained on; RSNA's images are NIH's."""
LEAK_FIX = (
    "train {source} anew on data without these patients (cxr convert --test-ids), then these runs; until then their "
    "test scores say too much"
)


@dataclass(frozen=True)
class Seen:
    """Weights that a run started from or learnt from: which run they are of, and by which way."""

    role: str
    run: RunConfig


@cache
def open_beton(path: Path) -> Beton | None:
    """Open a beton once; None where it is absent or damaged."""
    from datasets.beton.reader import Beton

    try:
        return Beton.open(path)
    except InputError:
        return None


def check_runs(runs_dir: Path, data_dir: Path) -> Iterator[Finding]:
    """Every run folder: readable, not failed, and without weights that have seen its test images."""
    folders = sorted(path.parent for path in runs_dir.glob("*/config.json"))
    if not folders:
        yield ok("runs", f"none in {runs_dir}")
        return
    hashes, configs, counts = dict[str, str | None](), dict[str, RunConfig](), Counter[str]()
    for path in folders:
        folder = RunFolder(path)
        try:
            config = folder.config()
            hashes[config.run_id] = folder.provenance().get("content_hash")
            status = folder.status()
        except InputError as error:
            yield warn("runs", str(error), f"move {path} away, or copy it again whole")
            continue
        configs[config.run_id] = config
        state = str(status.get("state", "not started"))
        counts[state] += 1
        if state == "failed":
            what = f"{path.name} failed: {status.get('error')}"
            yield warn("runs", what, "mend what it says; the same cxr train, or cxr grid retry, goes on")
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    yield ok("runs", f"{len(configs):,} runs in {runs_dir}: {states}")
    yield from _check_leaks(configs, hashes, data_dir)
    open_beton.cache_clear()


def _check_leaks(configs: dict[str, RunConfig], hashes: dict[str, str | None], data_dir: Path) -> Iterator[Finding]:
    """Weights that have seen test images: one finding for all runs on the same beton that rest on them."""
    groups: dict[tuple[str, str | None, Seen], list[RunConfig]] = {}
    for config in configs.values():
        for seen in ancestors(config):
            groups.setdefault((config.data.dataset, hashes.get(config.run_id), seen), []).append(config)
    told = set[str]()
    for (dataset, own, seen), users in groups.items():
        for finding in _judge(dataset, own, seen, _named(users), hashes, data_dir):
            told.update(user.run_id for user in users)
            yield finding
    external: dict[tuple[str, str, str], list[RunConfig]] = {}
    for config in configs.values():
        for role, name in xrv_that_saw(config):
            external.setdefault((role, name, config.data.dataset), []).append(config)
    for (role, name, dataset), users in external.items():
        told.update(user.run_id for user in users)
        what = f"{name}, {role} of {_named(users)}, has seen {dataset}, by a split of its own"
        yield warn("leaks", what, "take weights of another dataset, or say so beside the score")
    if len(configs) > len(told):
        clean = len(configs) - len(told)
        yield ok("leaks", f"{clean:,} runs whose weights have seen no test image, as far as the files here tell")


def _named(users: list[RunConfig]) -> str:
    """The first run, and how many there are beside it."""
    others = len(users) - 1
    return users[0].name + (f" and {others:,} other {'run' if others == 1 else 'runs'}" if others else "")


def ancestors(config: RunConfig) -> list[Seen]:
    """All runs whose weights reach this one, through initial weights and teachers, each once."""
    found: dict[str, Seen] = {}
    waiting: list[tuple[str, Weights | None]] = [
        ("initial weights", config.init),
        ("teacher", config.objective.teacher),
    ]
    while waiting:
        role, weights = waiting.pop(0)
        if weights is None or weights.run is None or weights.run.run_id in found:
            continue
        found[weights.run.run_id] = Seen(role, weights.run)
        waiting += [(role, weights.run.init), (role, weights.run.objective.teacher)]
    return list(found.values())


def _judge(
    ours: str, own: str | None, seen: Seen, users: str, hashes: dict[str, str | None], data_dir: Path
) -> Iterator[Finding]:
    """Compare the training images of ``seen`` with the test split of the beton ``own`` of dataset ``ours``."""
    theirs, other = seen.run.data.dataset, hashes.get(seen.run.run_id)
    if ours == theirs and own is not None and own == other:
        return  # one beton, one split: what one trained on no other is scored on
    related = ours == theirs or (ours in NIH and theirs in NIH)
    test, train = (open_beton(data_dir / f"{dataset}.beton") for dataset in (ours, theirs))
    source = f"{seen.run.name}, {seen.role} of {users}"
    if test and train and (own, other) == (test.sidecar.content_hash, train.sidecar.content_hash):
        for leak in overlap(train, seen.run.data.subset, test, related=related):
            fix = LEAK_FIX.format(source=seen.run.name)
            yield fail("leaks", f"{source}, has seen test images: {leak}", fix)
    elif related:
        what = f"{source}: trained on {theirs} by another split or beton; whether it saw test images is not known"
        fix = f"convert both with one manifest (cxr split), or keep both betons in {data_dir} for this check"
        yield warn("leaks", what, fix)


def overlap(train: Beton, subset: str, test: Beton, *, related: bool) -> list[Leak]:
    """Patients and images of the train subset of one beton that are in the test split of another."""
    from datasets.splits.leaks import shared_images, shared_names

    try:
        here, there = train.indices("train", subset), test.indices("test")
    except InputError:
        return []
    between = f"both its training images and the test split of {test.path.name}"
    found = shared_images(train, here, test, there, between)
    if related:
        for kind, column in (("patients", "patient"), ("images by name", "name")):
            seen, tested = (beton.samples[column].iloc[rows] for beton, rows in ((train, here), (test, there)))
            found += shared_names(map(str, seen), map(str, tested), kind, between)
    return found


def xrv_that_saw(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Role and name of torchxrayvision's weights that were trained on the run's dataset, by splits of their own."""
    for role, weights in (("initial weights", config.init), ("teacher", config.objective.teacher)):
        if weights is None or weights.name is None:
            continue
        if config.data.dataset in XRV_SEEN[weights.source.removeprefix("xrv-")]:
            yield role, weights.name
