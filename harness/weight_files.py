"""Weights of a whole network: a finished run's config comes in; its best checkpoint's checked tensors go out.

Names and shapes are compared with a network of the right kind before anything is loaded, so that a wrong file is one
clear line and never half of a network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from datasets.errors import InputError
from harness.checkpoint import WEIGHTS_NAME, Tensors, load_weights, weights_hash
from harness.config import NetworkConfig, RunConfig
from harness.networks import construct
from harness.run_folder import RunFolder


@dataclass(frozen=True)
class SourceWeights:
    """All tensors of one network under our names, checked, and where they are from."""

    network: NetworkConfig
    tensors: Tensors
    origin: str
    """For a message: the run or the file."""

    @property
    def num_outputs(self) -> int:
        return len(self.tensors["classifier.weight"])


def read_run(run: RunConfig, runs_dir: Path) -> SourceWeights:
    """The best checkpoint of a finished run.

    Raises:
        InputError: when the run is absent or unfinished, or its checkpoint is not the one that its config describes.
    """
    folder = RunFolder(runs_dir / run.run_id)
    if not folder.path.is_dir():
        raise InputError(
            f"{folder.path}: no such run; train it first, or point --runs-dir at the folder that holds it"
        )
    result = folder.result()
    if result is None:
        raise InputError(
            f"{folder.path}: the run is not finished (no {folder.result_file.name}); train it to its end"
        )
    path = folder.best_dir / WEIGHTS_NAME
    tensors, metadata = load_weights(folder.best_dir)
    for key, value in {"run_id": run.run_id, "network": run.network.name, "scope": run.network.scope}.items():
        if metadata.get(key) != value:
            raise InputError(f"{path}: metadata {key} = {metadata.get(key)!r}, but the run's config says {value!r}")
    check_tensors(tensors, run.network, path, expected=f"the weights of a {run.network.name}")
    _check_labels(metadata.get("labels"), len(tensors["classifier.weight"]), path)
    if result.get("weights_hash") not in (None, weights_hash(tensors)):
        raise InputError(f"{path}: not the weights that {folder.result_file} was computed with; train the run anew")
    return SourceWeights(run.network, tensors, f"run {run.run_id}")


def check_tensors(tensors: Tensors, network: NetworkConfig, path: Path, *, expected: str) -> None:
    """Refuse tensors whose names or shapes are not the network's; the number of outputs may be any.

    Raises:
        InputError: naming the file, the first tensor that is missing, unknown or of another shape, and ``expected``.
    """
    head = tensors.get("classifier.weight")
    num_outputs = len(head) if head is not None and head.ndim == 2 and len(head) > 0 else 1
    with torch.device("meta"):
        reference = construct(network, num_outputs).state_dict()
    for problem, keys in (
        ("missing", reference.keys() - tensors.keys()),
        ("unknown", tensors.keys() - reference.keys()),
    ):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise InputError(f"{path}: {problem} tensor {min(keys)}{more}; expected {expected}")
    for key, value in reference.items():
        if tensors[key].shape != value.shape:
            shapes = f"{tuple(tensors[key].shape)}, not {tuple(value.shape)}"
            raise InputError(f"{path}: {key} has shape {shapes}; expected {expected}")


def _check_labels(text: str | None, num_outputs: int, path: Path) -> None:
    try:
        labels = json.loads(text or "null")
    except json.JSONDecodeError:
        labels = None
    if not isinstance(labels, list) or len(labels) != num_outputs:
        raise InputError(f"{path}: metadata labels = {text!r}; expected a JSON list of {num_outputs} label names")
