"""Check run folders: broken runs, and weights that have seen a test image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from datasets.errors import InputError
from datasets.sources.registry import entry_or_own, share_images
from harness.config import RunConfig, Weights
from harness.config.xrv_names import XRV_PREFIX
from harness.runs.folder import RunFolder
from launch.doctor.finding import Finding, fail, ok, warn
from launch.plan.tables import plural

if TYPE_CHECKING:
    from datasets.beton.reader import Beton
    from datasets.splits.leaks import Leak

LEAK_FIX = (
    "train {source} anew on data without these patients (cxr convert --test-ids), then these runs; until then their "
    "test scores say too much"
)


class Seen(NamedTuple):
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
    groups: dict[tuple[str, str | None, Seen], list[RunConfig]] = defaultdict(list)
    external: dict[tuple[str, str, str], list[RunConfig]] = defaultdict(list)
    for config in configs.values():
        for seen in ancestors(config):
            groups[config.data.dataset, hashes.get(config.run_id), seen].append(config)
        for role, name in xrv_that_saw(config):
            external[role, name, config.data.dataset].append(config)
    told = set[str]()
    for (dataset, own, seen), users in groups.items():
        for finding in _judge(dataset, own, seen, _named(users), hashes, data_dir):
            told.update(user.run_id for user in users)
            yield finding
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
    return users[0].name + (f" and {plural(others, 'other run')}" if others else "")


def ancestors(config: RunConfig) -> list[Seen]:
    """All runs whose weights reach this one, through initial weights and teachers, each once."""
    found: dict[str, Seen] = {}
    waiting = list(_weights(config))
    for role, weights in waiting:
        if weights.run is not None and weights.run.run_id not in found:
            found[weights.run.run_id] = Seen(role, weights.run)
            waiting += [(role, further) for _, further in _weights(weights.run)]
    return list(found.values())


def _weights(config: RunConfig) -> Iterator[tuple[str, Weights]]:
    yield "initial weights", config.init
    if config.objective.teacher is not None:
        yield "teacher", config.objective.teacher


def _judge(
    ours: str, own: str | None, seen: Seen, users: str, hashes: dict[str, str | None], data_dir: Path
) -> Iterator[Finding]:
    """Compare the training images of ``seen`` with the test split of the beton ``own`` of dataset ``ours``."""
    theirs, other = seen.run.data.dataset, hashes.get(seen.run.run_id)
    if ours == theirs and own is not None and own == other:
        return  # one beton, one split: what one trained on no other is scored on
    related = share_images(ours, theirs)
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
    for kind, column in (("patients", "patient"), ("images by name", "name")) if related else ():
        seen, tested = (beton.samples[column].iloc[rows] for beton, rows in ((train, here), (test, there)))
        found += shared_names(map(str, seen), map(str, tested), kind, between)
    return found


def xrv_that_saw(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Role and name of torchxrayvision's weights that were trained on the run's dataset, by splits of their own."""
    for role, weights in _weights(config):
        seen = entry_or_own(config.data.dataset).xrv_weights
        if weights.name is not None and weights.name.removeprefix(XRV_PREFIX) in seen:
            yield role, weights.name
