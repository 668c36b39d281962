"""Read files of weights and the best checkpoint of a run, checked against the network they are for.

Names and shapes are compared with a network of the right kind before anything is loaded, so that a wrong file is one
clear line and never half of a network.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file

from datasets.errors import InputError
from datasets.files import regular
from harness.config import NetworkConfig, RunConfig
from harness.networks import Network, construct
from harness.runs.checkpoint import WEIGHTS_NAME, Tensors, load_weights, weights_hash
from harness.runs.folder import RunFolder

MAX_HEADER_BYTES = 100_000_000
"""Of the JSON at the start of a safetensors file, by the format's own rule."""
_PAGE = "a web page; download the file itself"
OTHER_FILES = {
    b"<!doctype": _PAGE,
    b"<html": _PAGE,
    b"<?xml": _PAGE,
    b"version https://git-lfs": "a Git LFS pointer to one; fetch it with git lfs pull",
    b"{": "JSON",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"\x89hdf": "an HDF5 file, as Keras writes",
}
"""What is often taken for a file of weights, by its first bytes in lower case."""


@dataclass(frozen=True)
class SourceWeights:
    """All tensors of one network under our names, checked, and where they are from."""

    network: NetworkConfig
    tensors: Tensors
    origin: str
    """For a message: the run or the file."""
    labels: tuple[str, ...] | None = None
    """Names of the outputs, '' for one without; None where they are no labels of ours."""

    def build(self) -> Network:
        """The network with these tensors."""
        network = construct(self.network, num_outputs=len(self.tensors["classifier.weight"]))
        network.load_state_dict(self.tensors)
        return network


def read_run(run: RunConfig, folder: RunFolder) -> SourceWeights:
    """The best checkpoint of a finished run in its folder.

    Raises:
        InputError: when the run is absent or unfinished, or its checkpoint is not the one that its config describes.
    """
    if not folder.path.is_dir():
        raise InputError(
            f"{folder.path}: no such run; train it first, or point --runs-dir at the folder that holds it"
        )
    result = folder.finished_result()
    path = folder.best_dir / WEIGHTS_NAME
    tensors, metadata = read_best(run, folder)
    check_tensors(tensors, run.network, path, expected=f"the weights of a {run.network.name}")
    labels = read_labels(metadata.get("labels"), len(tensors["classifier.weight"]), path)
    if result.get("weights_hash") not in (None, weights_hash(tensors)):
        raise InputError(f"{path}: not the weights that {folder.result_file} was computed with; train the run anew")
    return SourceWeights(run.network, tensors, f"run {run.run_id}", labels)


def read_best(run: RunConfig, folder: RunFolder) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of the best checkpoint of a run, finished or not.

    Raises:
        InputError: when there is none, or another run wrote it, or this one before its config was changed.
    """
    tensors, metadata = load_weights(folder.best_dir)
    for key, value in {"run_id": run.run_id, "network": run.network.name, "scope": run.network.scope}.items():
        if metadata.get(key) != value:
            path, found = folder.best_dir / WEIGHTS_NAME, metadata.get(key)
            raise InputError(
                f"{path}: metadata {key} = {found!r}, but the run's config says {value!r}; put config.json back as "
                "it was, or train the run anew"
            )
    return tensors, metadata


def check_tensors(tensors: Tensors, network: NetworkConfig, path: Path, *, expected: str) -> None:
    """Refuse tensors whose names or shapes are not the network's; the number of outputs may be any.

    Raises:
        InputError: as ``compare_tensors`` does.
    """
    head = tensors.get("classifier.weight")
    num_outputs = len(head) if head is not None and head.ndim == 2 and len(head) > 0 else 1
    with torch.device("meta"):
        reference = construct(network, num_outputs).state_dict()
    compare_tensors(tensors, reference, path, expected=expected)


def compare_tensors(tensors: Tensors, reference: Mapping[str, torch.Tensor], path: Path, *, expected: str) -> None:
    """Refuse tensors whose names or shapes are not those of ``reference``.

    Raises:
        InputError: naming the file, the first tensor that is missing, unknown or of another shape, and ``expected``.
    """
    missing, unknown = reference.keys() - tensors.keys(), tensors.keys() - reference.keys()
    for problem, keys in (("missing", missing), ("unknown", unknown)):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise InputError(f"{path}: {problem} tensor {min(keys)}{more}; expected {expected}")
    for key, value in reference.items():
        if tensors[key].shape != value.shape:
            shapes = f"{tuple(tensors[key].shape)}, not {tuple(value.shape)}"
            raise InputError(f"{path}: {key} has shape {shapes}; expected {expected}")


def read_tensors(path: Path, *, if_pickled: str = "save its state_dict() alone") -> Tensors:
    """Names and tensors of a file of safetensors' or of a state dict that torch saved; no code in it is run.

    The file's first bytes decide what it is, not its suffix.

    Raises:
        InputError: when the file is damaged or holds something else; ``if_pickled`` says what to do with one that
            holds Python objects.
    """
    kind = _kind(path)
    try:
        if kind == "safetensors":
            return load_file(path)
        with warnings.catch_warnings(), path.open("rb") as file:  # by name torch would go by the suffix
            warnings.simplefilter("ignore")  # of odd pickles, which are damaged ones
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # whose message advises to run the code in the file
        found = re.search(r"nsupported \S+ ?(?:GLOBAL )?([\w.]+)", str(error))
        problem = f"it holds {found[1]}, not tensors alone; {if_pickled}" if found else "damaged, or not torch's"
        raise InputError(f"{path}: not a readable file of weights ({problem})") from None
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  torch's readers fail on damaged bytes with whatever they stumble over
        raise InputError(f"{path}: not a readable file of weights ({one_line(error)})") from None
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        raise InputError(f"{path}: not a state dict; expected a dictionary of names and tensors")
    return dict(content)


def _kind(path: Path) -> Literal["safetensors", "torch"]:
    """What the first bytes say.

    Raises:
        InputError: naming what the file is, when it is none of weights.
    """
    with regular(path).open("rb") as file:
        start = file.read(512)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < MAX_HEADER_BYTES:
        return "safetensors"
    text = start.lstrip().lower()
    for beginning, what in OTHER_FILES.items():
        if text.startswith(beginning):
            raise InputError(f"{path}: not a file of weights but {what}")
    return "torch"


def with_counters(tensors: Tensors) -> Tensors:
    """``tensors`` with the counter of seen batches that PyTorch's batch norms lacked before version 0.4.1."""
    counted = dict(tensors)
    for key in [key for key in counted if key.endswith(".running_mean")]:
        counted.setdefault(key.removesuffix("running_mean") + "num_batches_tracked", torch.tensor(0))
    return counted


def one_line(error: BaseException) -> str:
    """An error's type and the start of its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


def read_labels(text: str | None, num_outputs: int, path: Path) -> tuple[str, ...]:
    """The label names that the metadata of weights hold, one for each output."""
    try:
        labels = json.loads(text or "null")
    except json.JSONDecodeError:
        labels = None
    if not isinstance(labels, list) or len(labels) != num_outputs:
        raise InputError(f"{path}: metadata labels = {text!r}; expected a JSON list of {num_outputs} label names")
    return tuple(map(str, labels))
