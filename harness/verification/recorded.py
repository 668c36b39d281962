"""Compare a run's files with each other and with its beton; nothing is computed by a network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from datasets.beton.reader import Beton
from datasets.beton.verify import verify
from datasets.files import read_json
from harness.config import RunConfig
from harness.config.schedule import Validated, best_of
from harness.evaluation.calibration import Calibration
from harness.evaluation.evaluate import label_columns
from harness.evaluation.metrics import score
from harness.evaluation.predictions_file import labels_of, logits_of, read_predictions, targets_of
from harness.runs.checkpoint import Tensors, best_epoch, load_weights, weights_hash
from harness.runs.folder import RunFolder
from harness.verification.check import Check, compared, guarded, not_checked

WRITE_ADVICE = "write it with cxr evaluate {folder} --write"


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """What a finished run's folder says."""

    folder: RunFolder
    config: RunConfig
    result: dict[str, Any]
    provenance: dict[str, Any]
    beton: Beton | None
    """The run's; None where it is not at hand."""

    @cached_property
    def best(self) -> tuple[Tensors, dict[str, str]]:
        """Tensors and metadata of the best checkpoint."""
        return load_weights(self.folder.best_dir)

    @property
    def labels(self) -> tuple[str, ...]:
        """The network's."""
        return tuple(json.loads(self.best[1]["labels"]))

    def predictions(self, split: str) -> pd.DataFrame | None:
        """Predictions that the run wrote of a split, by index; None where there is no file.

        Raises:
            InputError: when the file is damaged.
        """
        path = self.folder.predictions()[split]
        return read_predictions(path) if path.exists() else None


def check_files(run: RecordedRun) -> Iterator[Check]:
    """All checks that need no network."""
    yield guarded("config", partial(_config, run))
    yield guarded("best epoch", partial(_best_epoch, run))
    yield guarded("weights", partial(_weights, run))
    yield guarded("beton", partial(_beton, run))
    yield guarded("beton pages", partial(_pages, run))
    for split in run.folder.predictions():
        yield guarded(f"{split} images", partial(_images, run, split))
        yield guarded(f"{split} scores", partial(_scores, run, split))
    yield guarded("calibration", partial(_calibration, run))


def _config(run: RecordedRun) -> Check:
    document = read_json(run.folder.config_file)
    return compared(
        "config",
        "the config's hash and run id are those of result.json, config.json and provenance.json",
        expected={
            **{key: run.result[key] for key in ("config_hash", "run_id")},
            "config.json's run_id": run.result["run_id"],
            "provenance.json's config_hash": run.result["config_hash"],
        },
        found={
            "config_hash": run.config.hash,
            "run_id": run.config.run_id,
            "config.json's run_id": document.get("run_id"),
            "provenance.json's config_hash": run.provenance.get("config_hash"),
        },
    )


def _best_epoch(run: RecordedRun) -> Check:
    lines = [line for line in run.folder.metrics() if line]
    if [line.get("epoch") for line in lines] != list(range(run.result["epochs"])):
        return not_checked("best epoch", "metrics.jsonl lacks epochs", "train the run again")
    validated = [
        Validated(
            epoch=line["epoch"],
            loss=line["validation"]["cross_entropy"],
            mean_auroc=line["validation"]["mean_auroc"],
        )
        for line in lines
        if line["validation"] is not None
    ]
    best = best_of(run.config.schedule, validated)
    assert best is not None, "the last epoch is always validated"
    return compared(
        "best epoch",
        "the first best validation in metrics.jsonl is that of result.json and of the best checkpoint",
        expected={
            "best_epoch": run.result["best_epoch"],
            "checkpoint's epoch": run.result["best_epoch"],
            "validation": run.result["validation"],
        },
        found={
            "best_epoch": best.epoch,
            "checkpoint's epoch": best_epoch(run.folder.best_dir),
            "validation": {"mean_auroc": best.mean_auroc, "cross_entropy": best.loss},
        },
    )


def _weights(run: RecordedRun) -> Check:
    tensors, metadata = run.best
    if "weights_hash" not in run.result:
        return not_checked("weights", "result.json of older code has no hash of them", "train the run again")
    return compared(
        "weights",
        "the best checkpoint has the hash in result.json and is this run's",
        expected={key: run.result[key] for key in ("weights_hash", "run_id")},
        found={"weights_hash": weights_hash(tensors), "run_id": metadata.get("run_id")},
    )


def _beton(run: RecordedRun) -> Check:
    if run.beton is None:
        return _without_beton("beton")
    expected = {"content_hash": run.result["content_hash"], "provenance.json's": run.result["content_hash"]}
    found = {"content_hash": run.beton.sidecar.content_hash, "provenance.json's": run.provenance.get("content_hash")}
    return compared("beton", f"{run.beton.path} says the content hash of result.json", expected=expected, found=found)


def _pages(run: RecordedRun) -> Check:
    if run.beton is None:
        return _without_beton("beton pages")
    problems = verify(run.beton)
    what = f"all {run.beton.num_samples:,} pages, labels and splits give the content hash that the beton says"
    if problems:
        what = f"{problems[0]}" + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
    outcome: Any = "failed" if problems else "held"
    return Check(name="beton pages", outcome=outcome, what=what, expected=[], found=problems[:100])


def _scores(run: RecordedRun, split: str) -> Check:
    frame = run.predictions(split)
    if frame is None:
        return without_file(run, split, f"{split} scores")
    labels = labels_of(frame)
    expected = run.result[split]
    found = score(logits_of(frame), targets_of(frame), labels).to_dict()
    what = f"the scores in result.json are those of the {len(frame):,} predictions"
    check = compared(f"{split} scores", what, expected=expected, found={key: found.get(key) for key in expected})
    if check.outcome == "failed" and split == "validation" and _moved(run.provenance):
        why = f"training scored it elsewhere than where {run.folder.validation_file.name} was made ({check.what})"
        return not_checked(check.name, why, "see validation predictions", expected=check.expected, found=check.found)
    return check


def _moved(provenance: Mapping[str, Any]) -> bool:
    """Whether the run went on in other arithmetic, or nothing is known of it."""
    starts = [provenance, *provenance.get("earlier_starts", ())]
    return "arithmetic" not in provenance or len({str((s.get("devices"), s.get("precision"))) for s in starts}) > 1


def _calibration(run: RecordedRun) -> Check:
    recorded = Calibration.read(run.folder.calibration_file)
    frame = run.predictions("validation")
    if recorded is None or frame is None:
        lacking = (run.folder.calibration_file if recorded is None else run.folder.validation_file).name
        advice = WRITE_ADVICE.format(folder=run.folder.path)
        return not_checked("calibration", f"the run has no {lacking}", advice)
    again = Calibration.fit(
        logits_of(frame),
        targets_of(frame),
        labels_of(frame),
        content_hash=run.result["content_hash"],
        weights_hash=run.result.get("weights_hash", recorded.weights_hash),
        sensitivity=recorded.sensitivity,
        specificity=recorded.specificity,
    )
    what = "temperatures and thresholds are those of the validation predictions"
    return compared("calibration", what, expected=recorded.to_dict(), found=again.to_dict())


def _images(run: RecordedRun, split: str) -> Check:
    name, frame = f"{split} images", run.predictions(split)
    if frame is None:
        return without_file(run, split, name)
    if run.beton is None:
        return _without_beton(name)
    indices = run.beton.indices(split)
    if not np.array_equal(frame["index"], indices):
        what = f"{len(frame):,} rows are not the {len(indices):,} images of the beton's {split} split"
        return Check(name=name, outcome="failed", what=what, expected=len(indices), found=len(frame))
    samples = run.beton.samples.set_index("index").loc[indices]
    columns = [str(column) for column in samples if column in frame]
    targets = run.beton.targets[indices][:, label_columns(run.beton, labels_of(frame), run.folder.path)]
    wrong = {column: int((_texts(frame[column]) != _texts(samples[column])).sum()) for column in columns}
    wrong["targets"] = int((targets != targets_of(frame)).any(axis=1).sum())
    what = f"{', '.join(columns)} and targets of {len(frame):,} images are the beton's"
    if any(wrong.values()):
        what = "; ".join(
            f"{column}: {count:,} images differ from the beton" for column, count in wrong.items() if count
        )
    return Check(
        name=name,
        outcome="failed" if any(wrong.values()) else "held",
        what=what,
        expected=dict.fromkeys(wrong, 0),
        found=wrong,
    )


def _texts(values: pd.Series) -> np.ndarray:
    """Values as text, missing ones empty, to compare columns whatever their types."""
    return values.astype("string").fillna("").to_numpy(dtype=np.str_)


def _without_beton(name: str) -> Check:
    return not_checked(name, "the run's beton is not at hand", "say where it lies with --data-dir or --beton")


def without_file(run: RecordedRun, split: str, name: str) -> Check:
    """The check of predictions that the run did not write."""
    file = run.folder.predictions()[split].name
    return not_checked(name, f"the run has no {file}", WRITE_ADVICE.format(folder=run.folder.path))
