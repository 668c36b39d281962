"""Read a folder of run folders; folders that cannot be used are passed over with the reason."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from datasets.errors import InputError
from datasets.files import parse_as, read_json, read_json_object, regular
from datasets.sources.registry import entry_or_own
from harness.config import RunConfig
from harness.runs.folder import RunFolder
from launch.executors.registry import EXECUTORS
from launch.report.read.names import forget_titles, learn_title

GENERATOR = '<meta name="generator" content="cxr report">'
"""Stands at the head of every page of a report."""
MARK = ".cxr-report"
"""File in the folder of a report, from its first writing on."""

Auroc = Annotated[FiniteFloat, Field(ge=0.0, le=1.0)]
MEAN_TOLERANCE = 1e-4
"""Largest difference, in AUROC, between a recorded mean and the mean of its labels: float32 rounding and no more."""


@dataclass(frozen=True, kw_only=True)
class TestScore:
    """Scores on the test split; a label with one class has no AUROC and is None."""

    mean_auroc: Auroc | None
    auroc: dict[str, Auroc | None]
    num_samples: int | None = None
    """Images of the split."""

    def __post_init__(self) -> None:
        """The mean must be the mean of the labels that have an AUROC."""
        mean = self.mean_over(frozenset(self.auroc))
        if mean is None or self.mean_auroc is None:
            if mean is not self.mean_auroc:
                raise ValueError("mean_auroc and auroc disagree on whether any label has an AUROC")
        elif abs(mean - self.mean_auroc) > MEAN_TOLERANCE:
            raise ValueError(f"mean_auroc is {self.mean_auroc:.6f} but its labels' mean is {mean:.6f}")

    @property
    def defined(self) -> frozenset[str]:
        return frozenset(label for label, value in self.auroc.items() if value is not None)

    def mean_over(self, labels: frozenset[str]) -> float | None:
        """Unweighted mean AUROC over those of ``labels`` that are defined; None for no label."""
        values = [value for label, value in self.auroc.items() if label in labels and value is not None]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True, kw_only=True)
class MeanScore:
    """The mean AUROC of one split; None where no label has one."""

    mean_auroc: Auroc | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the report needs of ``result.json``."""

    run_id: str
    test: TestScore
    validation: MeanScore = field(default_factory=MeanScore)
    best_epoch: int | None = None
    attention_weight: FiniteFloat | None = None
    beta: FiniteFloat | None = None
    epochs: int | None = None
    images_per_s: FiniteFloat | None = None
    seconds: FiniteFloat | None = None
    train_images: int | None = None
    restarts: int = 0
    content_hash: str | None = None
    energy_kwh: FiniteFloat | None = None


@dataclass(frozen=True, kw_only=True)
class EpochScores:
    """What the report needs of one line of ``metrics.jsonl``; ``step`` counts optimiser steps."""

    epoch: int
    step: int
    train: MeanScore
    validation: MeanScore | None = None
    elapsed_s: FiniteFloat | None = None
    data_wait_s: FiniteFloat | None = None
    compute_s: FiniteFloat | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One readable run folder; ``result`` is None while the run is not done."""

    folder: RunFolder
    config: RunConfig
    result: Result | None
    epochs: tuple[EpochScores, ...]
    progress: str
    """``done``, or what status.json says of an unfinished run: ``running, epoch 3 of 8``."""
    commit: str = ""
    """Commit of the code, shortened; a plus sign says that the checkout was changed."""
    content_hash: str = ""
    """Content hash of the beton in hexadecimal, without the name of the hash."""
    phantom: bool = False
    """Whether the run's files say that its images are made up."""
    devices: tuple[str, ...] = ()
    """The device of each process as provenance.json words it."""
    precision: str = ""
    """Arithmetic of the run's steps; of a run that went on in another, all in order: ``bf16 then fp32``."""
    processes: str = ""
    """Of a run whose number of processes changed, all numbers: ``2 processes, 1 from step 40``."""
    started: float | None = None
    """First start, in seconds since 1970."""
    ended: float | None = None
    """When the run was done, in seconds since 1970."""
    energy_kwh: float | None = None
    """Energy that its devices used so far; None where they do not tell."""
    num_starts_before: int = 0
    """Starts before the last one."""
    beton: Path | None = None
    """The beton as the run was given it; a relative path is relative to where the run was started."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """provenance.json as it is: unchecked."""

    @property
    def run_id(self) -> str:
        return self.config.run_id


Kind = Literal["foreign", "damaged", "duplicate", "unfinished", "incomplete"]


class PassedOver(NamedTuple):
    """A folder, or a part of one, that the report does not use."""

    path: Path
    kind: Kind
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}: {self.reason}"


@dataclass(frozen=True)
class Collection:
    """All that was found below one folder."""

    directory: Path
    runs: tuple[Run, ...]
    passed_over: tuple[PassedOver, ...] = ()


def run_folders(directory: Path, skip: Path | None = None) -> list[Path]:
    """The folders directly below ``directory`` but ``skip`` and hidden ones, in order of name."""
    skipped = None if skip is None else skip.resolve()
    visible = (path for path in sorted(directory.iterdir()) if path.is_dir() and not path.name.startswith("."))
    return [path for path in visible if path.resolve() != skipped]


def collect(directory: Path, *, skip: Path | None = None) -> Collection:
    """Read every folder directly below ``directory`` but ``skip``, hidden ones and reports, in order of name.

    Raises:
        InputError: when ``directory`` holds no run folder that can be read.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder; give the folder that holds the run folders")
    if (directory / "config.json").is_file():
        raise InputError(f"{directory}: this is itself a run folder; give the folder that holds it")
    forget_titles()
    runs: dict[str, Run] = {}
    passed_over: list[PassedOver] = []
    for path in run_folders(directory, skip):
        if not is_report(path):
            _add(RunFolder(path), runs, passed_over)
    if not runs:
        detail = next((f"; {item}" for item in passed_over if item.kind == "damaged"), "")
        raise InputError(f"{directory}: holds no run folder that can be read (a folder with config.json){detail}")
    return Collection(directory, tuple(runs.values()), tuple(passed_over))


def is_report(path: Path) -> bool:
    """Whether a folder is marked as a report's, or holds a page of ours: then it is no foreign folder."""
    if (path / MARK).is_file():
        return True
    try:
        with regular(path / "index.html").open("rb") as page:
            return GENERATOR.encode() in page.read(2000)
    except (InputError, OSError):
        return False


def _add(folder: RunFolder, runs: dict[str, Run], passed_over: list[PassedOver]) -> None:
    def pass_over(kind: Kind, reason: str) -> None:
        passed_over.append(PassedOver(folder.path, kind, reason))

    if not folder.config_file.exists():
        is_queue = folder.path.name in EXECUTORS  # its records
        return None if is_queue else pass_over("foreign", "not a run folder: it has no config.json")
    try:
        run, unusable = _read(folder)
    except (InputError, OSError, UnicodeDecodeError, RecursionError) as error:
        return pass_over("damaged", " ".join(str(error).replace(f"{folder.path}{os.sep}", "").split()))
    first = runs.setdefault(run.run_id, run)
    if first is not run:
        return pass_over("duplicate", f"the same run as {first.folder.path.name}, which is used")
    if run.result is None:
        pass_over("unfinished", f"{run.progress}; no result.json yet")
    if unusable:
        lines = "1 line" if unusable == 1 else f"{unusable} lines"
        pass_over("incomplete", f"metrics.jsonl: {lines} cannot be used; the curves lack what stood there")
    return None


def _read(folder: RunFolder) -> tuple[Run, int]:
    """The run, and the number of lines of metrics.jsonl that cannot be used."""
    config = folder.config()
    recorded = read_json(folder.config_file).get("run_id", config.run_id)
    if recorded != config.run_id:
        changed = "it was changed afterwards or written by another version"
        raise InputError(f"config.json: run_id is {recorded!r} but the config's is {config.run_id}: {changed}")
    document = folder.result()
    provenance = read_json_object(folder.provenance_file)  # unchecked: no score rests on it
    result = None if document is None else parse_as(Result, document, where="result.json")
    if result is not None and result.run_id != config.run_id:
        raise InputError(f"result.json: belongs to run {result.run_id!r}, not to {config.run_id}")
    try:
        status = folder.status()
    except InputError:  # of a finished run it tells nothing but when it ended
        if result is None:
            raise
        status = {}
    learn_title(config.data.dataset, provenance.get("dataset_title") or entry_or_own(config.data.dataset).title)
    epochs, unusable = parse_epochs(list(folder.metrics()))
    content_hash = (result.content_hash if result else None) or provenance.get("content_hash") or ""
    run = Run(
        folder=folder,
        config=config,
        result=result,
        epochs=epochs,
        progress="done" if result is not None else _progress(status),
        content_hash=str(content_hash).rpartition(":")[2],
        phantom=says_phantom(provenance, document),
        provenance=provenance,
        energy_kwh=_number(status.get("energy_kwh")) if result is None else result.energy_kwh,
        ended=_number(status.get("updated")) if result is not None else None,
        **_circumstances(provenance),
    )
    return run, unusable


def _circumstances(provenance: dict[str, Any]) -> dict[str, Any]:
    """Where and when the run ran; what is absent or of another type is left out, since no score rests on it."""
    names = ("devices", "precision", "beton", "git", "earlier_starts", "processes")
    devices, precision, beton, git, earlier, processes = (provenance.get(name) for name in names)
    starts = [start for start in earlier if isinstance(start, dict)] if isinstance(earlier, list) else []
    times = [time for time in (_number(start.get("started")) for start in (*starts, provenance)) if time is not None]
    git = git if isinstance(git, dict) else {}
    precisions = provenance.get("precisions")
    precisions = precisions if isinstance(precisions, list) else [precision]  # as older versions wrote it
    return {
        "commit": f"{str(git['commit'])[:10]}{'+' if git.get('dirty') else ''}" if git.get("commit") else "",
        "devices": tuple(map(str, devices)) if isinstance(devices, list) else (),
        "precision": " then ".join(value for value in precisions if isinstance(value, str)),
        "processes": _changes(processes),
        "started": min(times, default=None),
        "num_starts_before": len(starts),
        "beton": Path(beton) if isinstance(beton, str) else None,
    }


def _changes(processes: Any) -> str:
    if not isinstance(processes, list) or len(processes) < 2 or not all(isinstance(one, dict) for one in processes):
        return ""
    first, *later = processes
    changes = (f"{one.get('processes')} from step {one.get('from_step')}" for one in later)
    return ", ".join([f"{first.get('processes')} processes", *changes])


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _progress(status: dict[str, Any]) -> str:
    text = str(status.get("state", "not started"))
    if "epoch" in status and "epochs" in status:
        text += f", epoch {status['epoch']} of {status['epochs']}"
    return f"{text}, {status['error']}" if status.get("error") else text


_EPOCH: TypeAdapter[EpochScores] = TypeAdapter(EpochScores)


def parse_epochs(values: list[Any]) -> tuple[tuple[EpochScores, ...], int]:
    """Epochs in order, the last line of an epoch winning, and the number of lines that cannot be used."""
    epochs: dict[int, EpochScores] = {}
    unusable = 0
    for value in values:
        try:
            scores = _EPOCH.validate_python(value)
        except ValidationError:
            unusable += 1
        else:
            epochs[scores.epoch] = scores
    return tuple(epochs[epoch] for epoch in sorted(epochs)), unusable


def says_phantom(*documents: Any) -> bool:
    """Whether a document marks its images as made up: a key ``phantom`` that is true, at any depth."""
    for document in documents:
        if isinstance(document, dict) and (document.get("phantom") or says_phantom(*document.values())):
            return True
        if isinstance(document, list) and says_phantom(*document):
            return True
    return False
