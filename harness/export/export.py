"""Export a finished run: weights, labels, preprocessing, calibration, ONNX and a model card with its test scores."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.beton.mixed import open_beton
from datasets.beton.reader import Beton
from datasets.beton.sidecar import Sidecar
from datasets.errors import InputError
from datasets.files import write_json
from harness.evaluation.calibration import Calibration
from harness.evaluation.predictions_file import labels_of, logits_of, read_predictions, targets_of
from harness.export.onnx import INPUT, OUTPUTS, TOLERANCE, OnnxCheck, check_installed, check_onnx, write_onnx
from harness.export.saved_model import PREPROCESSING_NAME, SavedModel, open_calibration, open_model
from harness.runs.checkpoint import WEIGHTS_NAME, safetensors_bytes
from harness.runs.checkpoint_folder import replacing_folder
from harness.runs.folder import RunFolder
from harness.runs.lock import sole_writer
from harness.scoring.bootstrap import Interval, auroc_intervals

logger = logging.getLogger(__name__)

CARD_NAME, LABELS_NAME, CONFIG_NAME, ONNX_NAME = "README.md", "labels.json", "config.json", "model.onnx"
REAL_IMAGES = 16
"""Test images on which torch and ONNX are compared."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was exported, for the card."""

    model: SavedModel
    result: dict[str, Any]
    provenance: dict[str, Any]
    sidecar: Sidecar | None
    """Of the run's beton; None where it is not at hand."""
    intervals: dict[str, Interval | None]
    """Of the test AUROC by label."""
    mean_interval: Interval | None
    test_patients: int | None
    onnx: OnnxCheck | None
    calibration: Calibration | None
    """None for a run of older code to which it was not added."""


def export_run(
    path: Path, out: Path, *, beton: Path | None, onnx: bool, write_card: Callable[[Exported], str]
) -> Exported:
    """Write ``out``, which appears whole or not at all; an earlier export there is replaced.

    Args:
        path: folder of a finished run.
        out: folder to write.
        beton: the run's beton, if it lies elsewhere now.
        onnx: also write model.onnx and compare it with torch.
        write_card: makes the text of README.md.

    Raises:
        InputError: when the run is not finished, or ``out`` holds something else.
        ArithmeticError: when the ONNX file's probabilities are not torch's; nothing is written then.
    """
    out = out.resolve()
    _check_place(out)
    if onnx:
        check_installed()
    folder = RunFolder(path)
    model = open_model(path, beton=beton)
    result, provenance = folder.finished_result(), folder.provenance()
    calibration = open_calibration(model)
    opened = _beton(model)
    intervals, mean_interval, patients = _intervals(folder)
    with sole_writer(out, beside=True), replacing_folder(out) as partial:
        check = _write_onnx(model, partial / ONNX_NAME, opened) if onnx else None
        _write_files(model, folder, partial, check)
        if calibration is not None:
            write_json(RunFolder(partial).calibration_file, calibration.to_dict())
        exported = Exported(
            model=model,
            result=result,
            provenance=provenance,
            sidecar=opened.sidecar if opened is not None else None,
            intervals=intervals,
            mean_interval=mean_interval,
            test_patients=patients,
            onnx=check,
            calibration=calibration,
        )
        (partial / CARD_NAME).write_text(write_card(exported), encoding="utf-8")
    return exported


def _check_place(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    ours = (out / PREPROCESSING_NAME).exists() and (out / WEIGHTS_NAME).exists()
    if out.is_dir() and any(out.iterdir()) and not ours:
        raise InputError(f"--out {out}: holds other files; give a new folder, or that of an earlier export")


def _beton(model: SavedModel) -> Beton | None:
    """The run's beton, if all of it is here."""
    if model.beton is None:
        return None
    try:
        return open_beton(model.beton)
    except InputError:
        return None


def _intervals(folder: RunFolder) -> tuple[dict[str, Interval | None], Interval | None, int | None]:
    """AUROC intervals of the stored test predictions, and how many patients they are of."""
    if not folder.predictions_file.exists():
        return {}, None, None
    frame = read_predictions(folder.predictions_file)
    patients = frame["patient"].to_numpy()
    by_label, mean = auroc_intervals(logits_of(frame), targets_of(frame), patients, labels_of(frame))
    return by_label, mean, int(frame["patient"].nunique())


def _write_onnx(model: SavedModel, path: Path, beton: Beton | None) -> OnnxCheck:
    size = model.preprocessing.size
    logger.info("writing %s and comparing it with torch; half a minute or more", ONNX_NAME)
    facts = {"run_id": model.config.run_id, "preprocessing": asdict(model.preprocessing)}
    opset = write_onnx(model.network, path, size=size, labels=model.labels, facts=facts)
    real = np.empty((0, 1, size, size), dtype=np.uint8)
    if beton is not None:
        real = beton.gather(beton.indices("test")[:REAL_IMAGES])[:, None]
    check = check_onnx(model.network, path, size=size, opset=opset, real=real)
    if not check.passed:
        raise ArithmeticError(
            f"{ONNX_NAME}: differs from torch by up to {check.max_difference:.2g} in probabilities and "
            f"{check.max_logit_difference:.2g} in logits, more than {TOLERANCE:g}; nothing was written; --no-onnx "
            "leaves this file out"
        )
    return check


def _write_files(model: SavedModel, folder: RunFolder, out: Path, check: OnnxCheck | None) -> None:
    size, labels = model.preprocessing.size, list(model.labels)
    metadata = {"format": "pt", **model.metadata, "precision": model.precision}
    # Not by safetensors' own writer, whose files no other user may read.
    (out / WEIGHTS_NAME).write_bytes(safetensors_bytes(model.tensors, metadata))
    write_json(out / LABELS_NAME, labels)
    document: dict[str, Any] = {"settings": asdict(model.preprocessing), "steps": model.preprocessing.steps()}
    if check is not None:
        document["onnx"] = {
            "input": {"name": INPUT, "type": "uint8", "shape": ["batch", 1, size, size], "holds": "gray pages"},
            "outputs": {name: {"type": "float32", "shape": ["batch", len(labels)]} for name in OUTPUTS},
            "normalisation": "inside the file",
            "opset": check.opset,
        }
    write_json(out / PREPROCESSING_NAME, document)
    shutil.copyfile(folder.config_file, out / CONFIG_NAME)
