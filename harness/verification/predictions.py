"""Predict a run's images again from its weights and its beton, and compare the logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from datasets.loading.options import ShardOptions
from harness.devices.accelerator import Accelerator
from harness.devices.arithmetic import arithmetic
from harness.evaluation.evaluate import label_columns, split_loader
from harness.evaluation.inference import Predictions, predict
from harness.evaluation.predictions_file import labels_of, logits_of
from harness.networks import Network, network_with
from harness.runs.runtime import RuntimeConfig
from harness.verification.check import Check, not_checked
from harness.verification.recorded import RecordedRun, without_file
from harness.weights.weight_files import check_tensors

TOLERANCES = {"fp32": 1e-3, "tf32": 0.01, "fp16": 0.01, "bf16": 0.05}
"""Largest difference of a logit between two kinds of device, relative to the larger of 1 and the run's largest logit,
by precision; of two precisions the coarser one's."""


def check_predictions(run: RecordedRun, split: str, accelerator: Accelerator, runtime: RuntimeConfig) -> Check:
    """Compare the logits of a split bit for bit, or to a tolerance where the run had other arithmetic.

    Raises:
        InputError: when weights or beton cannot be used.
    """
    name = f"{split} predictions"
    frame = run.predictions(split)
    if frame is None:
        return without_file(run, split, name)
    if run.beton is None:
        return not_checked(name, "the run's beton is not at hand", "say where it lies with --data-dir or --beton")
    recorded = run.provenance.get("arithmetic") or {}
    processes = int(recorded.get("processes", run.result.get("world_size", 1)))
    found = predict_as(accelerator, load_network(run, accelerator), run, split, runtime, processes=processes)
    if not np.array_equal(found.indices, frame["index"]):
        return Check(name=name, outcome="failed", what="the predicted images are not those of the beton's split")
    places = [run.labels.index(label) for label in labels_of(frame)]
    ours = {**arithmetic(accelerator), "processes": processes}
    return compare_logits(name, logits_of(frame), found.logits[:, places], recorded=recorded, ours=ours)


def compare_logits(
    name: str, expected: np.ndarray, found: np.ndarray, *, recorded: Mapping[str, Any], ours: Mapping[str, Any]
) -> Check:
    """Compare logits (N, L) float32 that the run wrote with those ``found`` now, under their arithmetic."""
    changed = (expected.view(np.uint32) != found.view(np.uint32)).any(axis=1)
    if not changed.any():
        what = f"the logits of {len(found):,} images are those of the weights, bit for bit"
        return Check(name=name, outcome="held", what=what, expected=0.0, found=0.0)
    largest = float(np.abs(expected.astype(np.float64) - found).max())
    differs = other_arithmetic(recorded, ours)
    what = f"{changed.sum():,} of {len(found):,} images have other logits, by up to {largest:.3g}"
    if not differs:
        what += " on the same kind of device, where they must be equal"
        return Check(name=name, outcome="failed", what=what, expected=0.0, found=largest)
    precisions = {str(recorded.get("precision", "fp32")), str(ours["precision"])}
    scale = max(1.0, float(np.abs(expected).max()))
    tolerance = scale * max(TOLERANCES.get(precision, 0.0) for precision in precisions)
    what += f"; allowed are {tolerance:.3g}, since the run had other arithmetic ({differs})"
    outcome: Any = "held" if largest <= tolerance else "failed"
    return Check(name=name, outcome=outcome, what=what, expected=tolerance, found=largest)


def other_arithmetic(recorded: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """What of the run's arithmetic is not ours, in words; empty where the bits must be equal."""
    if not recorded:
        return "not recorded by the code that trained it"
    others = (key for key, value in ours.items() if recorded.get(key) != value)
    return "; ".join(f"{key}: {recorded.get(key)}, here {ours[key]}" for key in others)


def load_network(run: RecordedRun, accelerator: Accelerator) -> Network:
    """The run's network with its best weights, on the device.

    Raises:
        InputError: when the weights are not the network's.
    """
    name = run.config.network.name
    check_tensors(run.best[0], run.config.network, run.folder.best_dir, expected=f"the weights of a {name}")
    return network_with(run.config.network, run.best[0], len(run.labels), accelerator.device)


def predict_as(
    accelerator: Accelerator,
    network: Network,
    run: RecordedRun,
    split: str,
    runtime: RuntimeConfig,
    *,
    processes: int,
) -> Predictions:
    """Predict a split as ``processes`` would: each one's share in its own batches, one share after another."""
    assert run.beton is not None
    indices, parts = run.beton.indices(split), []
    for rank in range(min(processes, len(indices))):
        loader = split_loader(accelerator, run.beton, indices, runtime, shard=ShardOptions(rank, processes))
        own = np.sort(np.concatenate(loader.plan.batches(0)))
        num_targets = len(run.beton.labels)
        parts.append(predict(accelerator, network, loader, own, runtime, num_targets=num_targets))
    order = np.argsort(np.concatenate([part.indices for part in parts]))
    fields = ("indices", "logits", "targets")
    found = Predictions(*(np.concatenate([getattr(part, field) for part in parts])[order] for field in fields))
    columns = label_columns(run.beton, run.labels, run.folder.path)
    return replace(found, targets=found.targets[:, columns])
