"""Explain a run's network by maps, and keep how well they find boxed lesions in its folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from datasets.beton.reader import Beton
from datasets.convert.preprocess import Preprocessing
from datasets.errors import InputError
from datasets.files import sha256_file, write_json
from datasets.sources.boxes import read_boxes
from harness.devices.accelerator import make_accelerator
from harness.evaluation.attention_maps import attention_maps, grad_cam
from harness.evaluation.localisation import Maps, boxed_findings, localise, mean_over_labels
from harness.networks import Network
from harness.runs.folder import RunFolder
from harness.runs.runtime import RuntimeConfig
from harness.weights.weight_files import SourceWeights, read_run

logger = logging.getLogger(__name__)
ATTENTION, GRAD_CAM = "attention", "grad_cam"


def map_makers(network: Network) -> dict[str, Maps]:
    """The kinds of maps that a network has, by name."""
    makers: dict[str, Maps] = {ATTENTION: lambda images, _: attention_maps(network, images)}
    try:
        _ = network.tap_module
    except InputError as error:
        logger.warning(f"no Grad-CAM: {error}")
        return makers
    return {**makers, GRAD_CAM: partial(grad_cam, network)}


def score_boxes(
    folder: RunFolder,
    boxes: Path,
    beton: Beton,
    runtime: RuntimeConfig,
    *,
    split: str,
    threshold: float,
    side: int,
) -> dict[str, Any]:
    """Score a run's maps against boxes and write explanations.json.

    Args:
        folder: the finished run's.
        boxes: a table as ``datasets.sources.boxes`` reads it.
        beton: the run's.
        runtime: says on which device to compute.
        split: whose images are scored.
        threshold: share of a map's maximum above which it covers a pixel, for intersection over union.
        side: of the square images in whose pixels the boxes are.

    Raises:
        InputError: when the run is not finished, or no box is of its images and labels.
    """
    source, labels = read_network(folder)
    result = folder.result() or {}
    if beton.sidecar.content_hash != result.get("content_hash"):
        raise InputError(f"{beton.path}: holds other images than {folder.path} was trained on; give the run's own")
    listed = read_boxes(boxes)
    resize = Preprocessing.of(beton.sidecar).resize
    findings = boxed_findings(listed, beton, split, labels, resize=resize, side=side)
    network = source.build().to(make_accelerator(runtime).device)
    document = {
        "run_id": result["run_id"],
        "best_epoch": result["best_epoch"],
        "weights_hash": result.get("weights_hash"),
        "content_hash": beton.sidecar.content_hash,
        "boxes": {"file": boxes.name, "sha256": sha256_file(boxes), "side": side},
        "split": split,
        "threshold": threshold,
        "methods": _scores(map_makers(network), partial(localise, findings, beton, threshold=threshold)),
    }
    write_json(folder.explanations_file, document)
    return document


def _scores(makers: dict[str, Maps], score: Callable[[Maps], Any]) -> dict[str, Any]:
    """Scores of each kind of map, by label and their mean, as plain values."""
    found = {}
    for name, maps in makers.items():
        by_label = score(maps)
        labels = {label: asdict(item) for label, item in by_label.items()}
        found[name] = {"mean": asdict(mean_over_labels(by_label)), "labels": labels}
    return found


def read_network(folder: RunFolder) -> tuple[SourceWeights, tuple[str, ...]]:
    """A finished run's weights, and its labels.

    Raises:
        InputError: when the run is not finished, or its weights name no labels.
    """
    source = read_run(folder.config(), folder)
    if source.labels is None:
        raise InputError(f"{folder.best_dir}: its weights do not name their labels")
    return source, source.labels
