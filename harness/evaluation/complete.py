"""Write what scores and decisions need into a run's folder: predictions of both splits, and their calibration.

A run does so at its end. A run of older code has no predictions of its validation split, no calibration, and test
predictions without attributes; ``complete_run`` adds them and keeps the logits that are there.
"""

from __future__ import annotations

import json
from pathlib import Path

from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]

from datasets.beton.mixed import open_beton
from datasets.errors import InputError
from datasets.files import disk_full_as_input_error, write_json
from harness.devices.accelerator import make_accelerator
from harness.evaluation.calibration import WANTED, Calibration
from harness.evaluation.evaluate import predict_split
from harness.evaluation.predictions_file import (
    add_attributes,
    labels_of,
    logits_of,
    read_predictions,
    targets_of,
    write_predictions,
)
from harness.networks import network_with
from harness.runs.checkpoint import weights_hash
from harness.runs.folder import RunFolder
from harness.runs.lock import sole_writer_of_all
from harness.runs.runtime import RuntimeConfig
from harness.weights.weight_files import read_best


def write_calibration(
    folder: RunFolder,
    *,
    content_hash: str,
    weights_hash: str,
    sensitivity: float = WANTED,
    specificity: float = WANTED,
) -> bool:
    """Fit to validation.parquet and write calibration.json; return whether that changed it."""
    frame = read_predictions(folder.validation_file)
    fitted = Calibration.fit(
        logits_of(frame),
        targets_of(frame),
        labels_of(frame),
        content_hash=content_hash,
        weights_hash=weights_hash,
        sensitivity=sensitivity,
        specificity=specificity,
    )
    if _stored(folder) == fitted:
        return False
    write_json(folder.calibration_file, fitted.to_dict())
    return True


def complete_run(
    folder: RunFolder, runtime: RuntimeConfig, *, sensitivity: float = WANTED, specificity: float = WANTED
) -> list[Path]:
    """Write what is lacking of a finished run's predictions and calibration, under its lock; all processes predict.

    Args:
        folder: the run's.
        runtime: says where its beton lies and how to compute.
        sensitivity: for the rule of this name.
        specificity: for the rule of this name.

    Returns:
        The files that were written.

    Raises:
        InputError: when the run is not finished, or weights or beton are not those of its result.
    """
    result = folder.finished_result()
    config = folder.config()
    tensors, metadata = read_best(config, folder)
    hashes = {"content_hash": str(result.get("content_hash")), "weights_hash": weights_hash(tensors)}
    if result.get("weights_hash") not in (None, hashes["weights_hash"]):
        raise InputError(f"{folder.best_dir}: these weights are not those of {folder.result_file.name}")
    beton = open_beton(runtime.beton_for(config.data.dataset))
    if beton.sidecar.content_hash != hashes["content_hash"]:
        raise InputError(f"{beton.path}: holds other images or splits than {folder.path} was trained on")
    accelerator = make_accelerator(runtime)
    with (
        disk_full_as_input_error(folder.path, "what was there is kept"),
        sole_writer_of_all(folder.path, accelerator),
    ):
        (lacking,) = broadcast_object_list([_lacking(folder, hashes)])
        written = list(lacking.values())
        if lacking:
            num_outputs = len(json.loads(metadata["labels"]))
            network = network_with(config.network, tensors, num_outputs, accelerator.device)
        for split, path in lacking.items():
            predictions = predict_split(accelerator, network, beton, split, runtime)
            if accelerator.is_main_process:
                write_predictions(path, beton, predictions)
        if accelerator.is_main_process:
            for path in folder.predictions().values():
                written += [path] if add_attributes(path, beton) else []
            if write_calibration(folder, **hashes, sensitivity=sensitivity, specificity=specificity):
                written.append(folder.calibration_file)
        accelerator.wait_for_everyone()
    return written


def _lacking(folder: RunFolder, hashes: dict[str, str]) -> dict[str, Path]:
    """Splits to predict, each with its file. That of validation counts when the calibration says it is of these."""
    stored = _stored(folder)
    of_these = stored is not None and {key: getattr(stored, key) for key in hashes} == hashes
    known = {"test": True, "validation": of_these}
    return {split: path for split, path in folder.predictions().items() if not (known[split] and path.exists())}


def _stored(folder: RunFolder) -> Calibration | None:
    """The calibration that is there; None when there is none that can be read."""
    try:
        return Calibration.read(folder.calibration_file)
    except InputError:
        return None
