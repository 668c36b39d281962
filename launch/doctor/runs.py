"""Check run folders: broken runs, and weights that have seen a test image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from datasets.errors import InputError
from harness.config import RunConfig
from harness.runs.folder import RunFolder
from launch.doctor.finding import Finding, fail, ok, warn
from launch.lineage.graph import OWN, Data, Lineage, Published, Seen
from launch.lineage.patients import finder, judge
from launch.plan.tables import plural

LEAK_FIX = (
    "train {source} anew on data without these patients (cxr convert --test-ids), then these runs; until then their "
    "test scores say too much"
)


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
            # Of two folders of a run, one may not have begun.
            hashes[config.run_id] = folder.provenance().get("content_hash") or hashes.get(config.run_id)
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
    twice = f", {counts.total():,} folders" if counts.total() > len(configs) else ""
    yield ok("runs", f"{len(configs):,} runs in {runs_dir}{twice}: {states}")
    yield from _check_leaks(configs, hashes, data_dir)


def _check_leaks(configs: dict[str, RunConfig], hashes: dict[str, str | None], data_dir: Path) -> Iterator[Finding]:
    """What has seen test images: one finding for all runs on the same beton that rest on it."""
    lineage = Lineage(configs.values(), hashes)
    groups: dict[tuple[Data, Seen], list[RunConfig]] = defaultdict(list)
    for config in configs.values():
        scored = Data(dataset=config.data.dataset, split="test", content_hash=hashes.get(config.run_id))
        for seen in lineage.seen(lineage.add(config)):
            if seen.role != OWN:
                groups[scored, seen].append(config)

    find, told = finder(lambda data: [data_dir / f"{data.dataset}.beton"]), set[str]()
    for (scored, seen), users in groups.items():
        verdict = judge(seen.data, scored, find)
        of = f"{seen.owner.name}, {seen.role} of {_named(users)}"
        if verdict.leaks or verdict.level == "unknown":
            told.update(user.run_id for user in users)
        for leak in verdict.leaks:
            yield fail("leaks", f"{of}, has seen test images: {leak}", LEAK_FIX.format(source=seen.owner.name))
        if verdict.level == "unknown" and isinstance(seen.owner, Published):
            what = f"{of}, has seen {scored.dataset}, by a split of its own"
            yield warn("leaks", what, "take weights of another dataset, or say so beside the score")
        elif verdict.level == "unknown":
            how = f"trained on {seen.data.dataset} by another split or beton"
            what = f"{of}: {how}; whether it saw test images is not known"
            fix = f"convert both with one manifest (cxr split), or keep both betons in {data_dir} for this check"
            yield warn("leaks", what, fix)
    if len(configs) > len(told):
        clean = len(configs) - len(told)
        yield ok("leaks", f"{clean:,} runs whose weights have seen no test image, as far as the files here tell")


def _named(users: list[RunConfig]) -> str:
    """The first run, and how many there are beside it."""
    others = len(users) - 1
    return users[0].name + (f" and {plural(others, 'other run')}" if others else "")
