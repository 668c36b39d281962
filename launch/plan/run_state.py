"""Read from run folders where each run of a grid stands."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import psutil  # type: ignore[import-untyped]

from datasets.errors import InputError
from datasets.files import read_json_object
from datasets.sources.registry import JOINT, beton_of, mixed_content, parts_of
from harness.runs.folder import RunFolder
from harness.runs.lock import NoFileLocksError, is_locked
from launch.grids.grid import GridRun
from launch.plan.history import read_history
from launch.plan.known_results import KnownResults

HEARTBEAT_S = 7200.0
"""A run on another host counts as running this long after it last wrote its status, which it does once an epoch."""
CLOCK_SLACK_S = 5.0

State = Literal["absent", "queued", "partial", "running", "done", "failed", "cancelled", "stale", "damaged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """Where a run stands, and how far it got."""

    state: State = "absent"
    """``absent`` (never started), ``queued`` (waits in a cluster's queue), ``partial`` (interrupted, goes on from its
    checkpoint), ``running`` (a live process), ``done`` (a result), ``failed`` (ended with an error), ``cancelled``
    (taken out of the queue until a person submits it again), ``stale`` (computed from other data than now),
    ``damaged`` (a file of its folder cannot be read)."""
    epoch: int | None = None
    """Epochs done."""
    epochs: int | None = None
    mean_auroc: float | None = None
    """Test AUROC of a done run, 0..1; else the last validation's."""
    images_per_s: float | None = None
    error: str | None = None
    """Why it failed, or why and what to do when it is stale or damaged; one line."""
    device: str | None = None
    """What it computes or was computed on, such as ``2 x NVIDIA H100``."""
    host: str | None = None
    """The other host that a running run is on; None on this one."""
    job: str | None = None
    """The queue's job that holds the run, now or last."""
    waits_for: str | None = None
    """Why the queue has not started it, in the queue's words."""
    computed_from: str | None = None
    """Content hash of the data of a done run."""
    gpu_seconds: float | None = None
    """Duration of a done run times its processes."""
    energy_kwh: float | None = None
    """Energy that its devices used so far; None where they do not tell."""
    restarts: int = 0
    """Starts after the first."""
    preempted: int = 0
    """Starts that a preemption ended."""
    timed_out: int = 0
    """Starts that the time limit ended."""

    @property
    def progress(self) -> str:
        """``3 of 128 epochs``, or nothing while unknown."""
        if self.epoch is None:
            return ""
        return f"{self.epoch} of {self.epochs} epochs" if self.epochs is not None else f"{self.epoch} epochs"


ABSENT = RunState()
KNOWN = tuple(item.name for item in fields(RunState) if item.name != "state")
"""What is remembered of a done run."""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What planning needs of a beton's sidecar."""

    content_hash: str
    splits: dict[str, int] = field(default_factory=dict)
    """Number of images by split."""


def dataset_facts(data_dir: Path, datasets: Iterable[str]) -> dict[str, DatasetFacts]:
    """Return the facts of those datasets whose beton lies in ``data_dir``, and of mixes all of whose betons do.

    Raises:
        InputError: for a dataset that is not registered and has no beton there.
    """
    facts: dict[str, DatasetFacts] = {}
    asked = sorted(datasets)
    for dataset in dict.fromkeys(part for name in asked for part in parts_of(name)):
        sidecar = beton_of(dataset, data_dir).with_suffix(".beton.json")
        if sidecar.exists():
            values = read_json_object(sidecar)
            if "content_hash" not in values:
                raise InputError(f"{sidecar}: not a beton's sidecar; expected the key 'content_hash'")
            facts[dataset] = DatasetFacts(content_hash=values["content_hash"], splits=values.get("splits", {}))
    for mix in (name for name in asked if JOINT in name and facts.keys() >= set(parts_of(name))):
        hashes = {part: facts[part].content_hash for part in parts_of(mix)}
        facts[mix] = DatasetFacts(content_hash=mixed_content(hashes))
    return facts


def read_states(runs: Iterable[GridRun], runs_dir: Path, facts: Mapping[str, DatasetFacts]) -> dict[str, RunState]:
    """Return the state of each run, by run id; the folder of runs is listed once to find which were ever started.

    Of large grids, results that have not changed since the last look are not read again.
    """
    try:
        present = {folder.name for folder in runs_dir.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return {run.run_id: ABSENT for run in runs}
    known = KnownResults(runs_dir, version=KNOWN)
    states = {
        run.run_id: _known_state(run, runs_dir, facts, known) if run.run_id in present else ABSENT for run in runs
    }
    known.write()
    return states


def _known_state(run: GridRun, runs_dir: Path, facts: Mapping[str, DatasetFacts], known: KnownResults) -> RunState:
    """Return the state of one run, without reading a result that is known."""
    found = known.get(run.run_id)
    if found is not None:
        return _done(run, RunFolder(runs_dir / run.run_id), facts, found)
    state = read_state(run, runs_dir, facts)
    if state.state == "done" and known.is_settled(run.run_id):
        values = {name: value for name in KNOWN if (value := getattr(state, name)) != getattr(ABSENT, name)}
        known.add(run.run_id, values)
    return state


def read_state(
    run: GridRun, runs_dir: Path, facts: Mapping[str, DatasetFacts], *, have_lock: bool = False
) -> RunState:
    """Return the state of one run; with ``have_lock`` the caller holds its lock, which is then no sign of life.

    A file that cannot be read, torn as by a power cut, makes this run ``damaged``, and no other.
    """
    folder = RunFolder(runs_dir / run.run_id)
    if not folder.path.is_dir():
        return ABSENT
    try:
        return _read_state(run, folder, facts, have_lock=have_lock)
    except NoFileLocksError:
        raise
    except InputError as error:
        return RunState(state="damaged", error=f"{error}; remove this file, and a submit goes on with what is left")


def _read_state(run: GridRun, folder: RunFolder, facts: Mapping[str, DatasetFacts], *, have_lock: bool) -> RunState:
    status, result, provenance = folder.status(), folder.result() or {}, folder.provenance()
    known = {**_progress(status, result), **_starts(folder, result), "device": _device(provenance)}
    if not result and (_is_alive(status) or (not have_lock and is_locked(folder.path))):
        host = status.get("host")
        return RunState(state="running", host=None if host == socket.gethostname() else host, **known)
    if result:
        return _done(run, folder, facts, {**known, "computed_from": result.get("content_hash")})
    stale = _stale(run, folder, provenance.get("content_hash"), facts)
    if stale is not None:
        return RunState(state="stale", error=stale, **known)
    if status.get("state") == "failed":
        return RunState(state="failed", error=status.get("error") or "no reason given", **known)
    return RunState(state="partial", **known) if status or folder.last_dir.is_dir() else ABSENT


def _done(run: GridRun, folder: RunFolder, facts: Mapping[str, DatasetFacts], known: Mapping[str, Any]) -> RunState:
    stale = _stale(run, folder, known.get("computed_from"), facts)
    return RunState(state="done", **known) if stale is None else RunState(state="stale", error=stale, **known)


def _stale(
    run: GridRun, folder: RunFolder, computed_from: str | None, facts: Mapping[str, DatasetFacts]
) -> str | None:
    dataset = run.config.data.dataset
    if computed_from is None or dataset not in facts or facts[dataset].content_hash == computed_from:
        return None
    return (
        f"computed from other data ({computed_from[:15]}) than {dataset}.beton now holds "
        f"({facts[dataset].content_hash[:15]}); move {folder.path} away or use another --runs-dir"
    )


def _progress(status: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    scores, seconds = result.get("test") or {}, result.get("seconds")
    return {
        "epoch": status.get("epoch"),
        "epochs": status.get("epochs", result.get("epochs")),
        "mean_auroc": scores.get("mean_auroc") if result else status.get("mean_auroc"),
        "images_per_s": status.get("images_per_s", result.get("images_per_s")),
        "energy_kwh": result.get("energy_kwh", status.get("energy_kwh")),
        "gpu_seconds": None if seconds is None else seconds * (result.get("world_size") or 1),
    }


def _starts(folder: RunFolder, result: dict[str, Any]) -> dict[str, int]:
    """Return how often the run was started again, by its result or the queue's history, and what ended its starts."""
    endings = [start.get("ending") for start in read_history(folder.path)]
    return {
        "restarts": max(result.get("restarts") or 0, len(endings) - 1, 0),
        "preempted": endings.count("preempted"),
        "timed_out": endings.count("time limit"),
    }


def _device(provenance: Mapping[str, Any]) -> str | None:
    counts = Counter(map(str, provenance.get("devices") or ()))
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items()) or None


def _is_alive(status: dict[str, Any]) -> bool:
    """Return whether the process that wrote this status still lives, as far as this host can tell."""
    if status.get("state") != "running":
        return False
    updated = status.get("updated") or 0.0
    if status.get("host", socket.gethostname()) != socket.gethostname():
        return time.time() - updated < HEARTBEAT_S
    pid = status.get("pid")
    return isinstance(pid, int) and process_lives(pid, seen=updated)


def process_lives(pid: int, *, seen: float) -> bool:
    """Return whether the process with this id at ``seen`` (unix s) still runs; a zombie or a reused id does not."""
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= seen + CLOCK_SLACK_S)
    except psutil.NoSuchProcess:
        return False
