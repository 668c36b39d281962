"""The files of one run: paths and readers. A later layer learns about a run from these alone."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.errors import InputError
from datasets.files import read_json, read_json_object, regular
from harness.config import RunConfig, from_dict
from harness.runs.checkpoint_folder import folders

NUMBER = (int, float)
KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("epoch", "epochs", "pid", "world_size", "restarts"), int),
    **dict.fromkeys(("mean_auroc", "images_per_s", "seconds", "updated", "energy_kwh"), NUMBER),
    **dict.fromkeys(("state", "error", "host", "content_hash"), str),
    **dict.fromkeys(("test", "git"), dict),
    "devices": list,
}
"""What the keys hold that later layers read, in whichever file they stand; each may be null."""


class _Below:
    """A path below the run's folder."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __get__(self, folder: RunFolder, _owner: type[RunFolder]) -> Path:
        return folder.path.joinpath(*self._names)


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    config_file = _Below("config.json")
    """The resolved RunConfig: ``{"schema", "run_id", "name", "config"}``."""
    provenance_file = _Below("provenance.json")
    """Versions, host, devices, commit, content hash of the beton, resolved attention weight."""
    metrics_file = _Below("metrics.jsonl")
    """One JSON object a line, appended: one per epoch."""
    steps_file = _Below("steps.jsonl")
    """Hashes of the weights after steps 1, 2, 5, 10, ..., one a line, by which a retraining is compared."""
    certificate_file = _Below("certificate.json")
    """What ``cxr verify`` found when it computed the run's files again."""
    explanations_file = _Below("explanations.json")
    """How well maps find boxed lesions, once ``cxr explain RUN --boxes`` scored them."""
    status_file = _Below("status.json")
    """``{"state": "running" | "done" | "failed" | "interrupted", "epoch", "epochs", "updated", "error", ...}``."""
    last_dir = _Below("checkpoint", "last")
    """Newest whole checkpoint; ``last.old`` beside it is the one before."""
    best_dir = _Below("checkpoint", "best")
    """The best weights by the selection value."""
    predictions_file = _Below("predictions.parquet")
    """Test split of the best checkpoint: ids, attributes, targets and logits by label."""
    validation_file = _Below("validation.parquet")
    """The same of the validation split; runs of older code lack it."""
    calibration_file = _Below("calibration.json")
    """Temperature and thresholds by label, fitted to the validation split; see ``harness.evaluation.calibration``."""
    evaluations_dir = _Below("evaluations")
    """``NAME_SPLIT.json`` for each other dataset that the run was scored on: what ``evaluate_run`` returns."""
    result_file = _Below("result.json")
    """Written last: its presence means that the run is done."""
    trace_file = _Below("trace.json")
    """torch profiler's trace of a few steps, when it was asked for."""
    log_file = _Below("log.txt")
    """What the process printed, when an executor started it."""
    energy_dir = _Below("energy")
    """``RANK.json`` for each process: the energy that its device used in all starts, in kWh, where it told."""
    attempts_file = _Below("attempts.json")
    """Starts of the run, when a queue started it."""

    def scores_file(self, split: str) -> Path:
        """What ``cxr scores`` found on a split: scores by label and group, with intervals."""
        return self.path / ("scores.json" if split == "test" else f"scores_{split}.json")

    def config(self) -> RunConfig:
        """The run's config.

        Raises:
            InputError: when the folder is not a run folder.
        """
        document = read_json(self.config_file)
        if not isinstance(document, dict) or "config" not in document:
            raise InputError(f"{self.config_file}: not a run's config; expected the key 'config'")
        return from_dict(document["config"], where=str(self.config_file))

    def result(self) -> dict[str, Any] | None:
        """The run's result, or None while it is not done."""
        file = self.result_file
        values = _checked(file)
        return values if values or file.exists() else None

    def finished_result(self) -> dict[str, Any]:
        """The result of a finished run.

        Raises:
            InputError: while it is not done.
        """
        result = self.result()
        if result is None:
            raise InputError(
                f"{self.path}: the run is not finished (no {self.result_file.name}); train it to its end"
            )
        return result

    def predictions(self) -> dict[str, Path]:
        """The files of predictions by split."""
        return {"test": self.predictions_file, "validation": self.validation_file}

    def status(self) -> dict[str, Any]:
        """What status.json says; empty before the run's first start."""
        return _checked(self.status_file)

    def provenance(self) -> dict[str, Any]:
        """What provenance.json says; empty before the run's first start."""
        return _checked(self.provenance_file)

    def attempts(self) -> list[dict[str, Any]]:
        """The starts of the run, oldest first; empty when no queue started it.

        Raises:
            InputError: when the file holds something else.
        """
        starts = read_json(self.attempts_file) if self.attempts_file.exists() else []
        if not isinstance(starts, list) or not all(isinstance(start, dict) for start in starts):
            raise InputError(f"{self.attempts_file}: not a run's starts")
        return starts

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Lines of metrics.jsonl in order; a damaged one, be it text or not, comes as an empty object.

        A torn last line, as a killed process leaves it, is passed over.
        """
        return _lines(self.metrics_file)

    def steps(self) -> Iterator[dict[str, Any]]:
        """Lines of steps.jsonl, in order; none of a run of older code. A damaged line is passed over."""
        for line in _lines(self.steps_file):
            if isinstance(line.get("step"), int) and "weights_hash" in line:
                yield line

    def energy_kwh(self) -> float | None:
        """Energy that the devices of all processes used in all starts, in kWh; None where none of them told."""
        told = [kwh for file in sorted(self.energy_dir.glob("*.json")) if (kwh := recorded_kwh(file)) is not None]
        return sum(told) if told else None

    def drop_resume_files(self) -> int:
        """Remove what only resuming needs of a done run, and return its bytes; the best checkpoint stays."""
        freed = 0
        for path in folders(self.last_dir) if self.result_file.exists() else ():
            freed += sum(file.stat().st_size for file in path.iterdir())
            shutil.rmtree(path)
        return freed


def recorded_kwh(path: Path) -> float | None:
    """Return what one process wrote into ``RunFolder.energy_dir``; None where nothing did, or a power cut tore it."""
    try:
        kwh = read_json_object(path).get("kwh")
    except InputError:
        return None
    return float(kwh) if isinstance(kwh, NUMBER) else None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a file of JSON lines, if it is there; a damaged one as an empty object, but for a torn last line."""
    for line in regular(path).read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            yield record
        elif line.endswith(b"\n"):
            yield {}


def _checked(path: Path) -> dict[str, Any]:
    """Read a run's JSON object, whose known keys hold what they should, down to its test scores."""
    values = read_json_object(path)
    scores = values.get("test")
    inner = scores if isinstance(scores, dict) else {}
    for place, found in (("", values), ("test.", inner)):
        for name, value in found.items():
            kind = KINDS.get(name)
            if kind is None or value is None:
                continue
            if not isinstance(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
                raise InputError(f"{path}: {place}{name}: found {str(value)[:40]!r}, which is no value of it")
    return values


def folders_by_id(runs_dir: Path, provenance: Mapping[str, Any]) -> dict[str, RunFolder]:
    """Folders by run id, whatever their names: those that a run's provenance recorded, and those in ``runs_dir``."""
    recorded = map(Path, (provenance.get("runtime") or {}).get("run_folders", {}).values())
    found: dict[str, RunFolder] = {}
    for folder in map(RunFolder, (*recorded, *(sorted(runs_dir.iterdir()) if runs_dir.is_dir() else ()))):
        with suppress(InputError, TypeError, LookupError):
            found.setdefault(read_json(folder.config_file)["run_id"], folder)
    return found
