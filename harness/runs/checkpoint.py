"""Write and read checkpoints: weights, optimiser, random state and progress, in folders that are whole or absent.

A checkpoint folder holds ``model.safetensors`` (weights; label names and origin in its metadata) and, for ``last``,
``state.pt`` (optimiser, scaler, random state, TrainState), for ``best``, ``meta.json``. The last two ``last`` are
kept, sealed, so that a torn or foreign one is found and the one before it used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn
from torch.optim.swa_utils import AveragedModel

from datasets.errors import InputError
from datasets.files import disk_full_as_input_error, read_json, regular, write_json
from harness.config.schedule import Validated
from harness.runs.checkpoint_folder import (
    UnusableCheckpointError,
    check_seal,
    folders,
    replacing_folder,
    whole_folder,
    write_sealed,
)
from harness.runs.train_state import TrainState

logger = logging.getLogger(__name__)

WEIGHTS_NAME = "model.safetensors"
STATE_NAME = "state.pt"
META_NAME = "meta.json"
STATE_KEY = "position"
"""Of the TrainState in ``state.pt``."""
UNREADABLE = (
    *(SafetensorError, OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError),
    pickle.UnpicklingError,
)
"""What readers raise for a file of another version."""
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Learner:
    """Everything that training changes."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    """The plain optimiser, not Accelerate's wrapper."""
    scaler: torch.amp.GradScaler | None = None
    """The gradient scaler of fp16."""
    objective_module: nn.Module | None = None
    """Parameters of the objective, trained beside the network; they are in no file of weights."""
    averaged: AveragedModel | None = None
    """The moving average of the network's weights; files of weights then hold it, and ``state.pt`` the network's."""

    @property
    def kept(self) -> nn.Module:
        """The network whose weights are kept in files of weights."""
        kept: nn.Module = self.network if self.averaged is None else self.averaged.module
        return kept

    def contents(self) -> Contents:
        """All of it, and torch's random state; tensors are those that training goes on to change."""
        scaler, module, averaged = self.scaler, self.objective_module, self.averaged
        progress: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "beside": module.state_dict() if module is not None else None,
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }
        if averaged is not None:
            progress |= {"network": self.network.state_dict(), "averaged_steps": int(averaged.n_averaged)}
        return Contents(self.kept.state_dict(), progress)


class Contents(NamedTuple):
    """What a ``last`` checkpoint holds beside the TrainState."""

    weights: Tensors
    progress: dict[str, Any]


def save_last(folder: Path, contents: Contents, state: TrainState, metadata: Mapping[str, str]) -> None:
    """Write the checkpoint from which a run resumes; the previous one is kept.

    Raises:
        InputError: when the disk is full; the checkpoints before stay.
    """
    buffer = io.BytesIO()
    torch.save({STATE_KEY: state.to_dict(), **contents.progress}, buffer)
    # safetensors wants plain strides; channels_last weights have others.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in contents.weights.items()}
    # In memory first: the writers of safetensors and torch say "disk full" in words of their own, files in errno.
    files: dict[str, bytes | memoryview] = {
        WEIGHTS_NAME: safetensors_bytes(tensors, metadata),
        STATE_NAME: buffer.getbuffer(),
    }
    kept = "the last good checkpoint is kept" if whole_folder(folder) is not None else "there is no checkpoint yet"
    with disk_full_as_input_error(folder, kept), replacing_folder(folder, keep_old=True) as partial:
        write_sealed(partial, files, metadata)


def safetensors_bytes(tensors: Tensors, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file; equal tensors and metadata give equal bytes, unlike with safetensors' own order of keys."""
    written = save(tensors, metadata=dict(metadata))
    end = 8 + int.from_bytes(written[:8], "little")
    header = json.loads(written[8:end])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(written)[end:]))


def load_last(folder: Path, learner: Learner, metadata: Mapping[str, str]) -> TrainState | None:
    """Put the newest usable checkpoint into ``learner`` and torch's random state; None when there is none at all.

    A torn or foreign checkpoint is passed over with a warning.

    Raises:
        InputError: when there are checkpoints and none is usable.
    """
    problems: list[str] = []
    for path in folders(folder):
        try:
            state = _load(path, learner, metadata)
        except UnusableCheckpointError as error:
            problems.append(f"{path}: not used, {error}")
            continue
        for problem in problems:
            logger.warning(f"{problem}; going on from {path}, the checkpoint before it")
        return state
    if problems:
        raise InputError(f"{'; '.join(problems)}; remove {folder.parent} to start the run anew")
    return None


def _load(path: Path, learner: Learner, metadata: Mapping[str, str]) -> TrainState:
    check_seal(path, metadata)
    try:
        tensors = load_file(path / WEIGHTS_NAME)
        content = torch.load(path / STATE_NAME, map_location="cpu", weights_only=True)
        state = TrainState.from_dict(content[STATE_KEY])
        learner.kept.load_state_dict(tensors)
        if learner.averaged is not None:
            learner.network.load_state_dict(content["network"])
            learner.averaged.n_averaged.fill_(content["averaged_steps"])
        learner.optimizer.load_state_dict(content["optimizer"])
        if learner.objective_module is not None:
            learner.objective_module.load_state_dict(content["beside"])
        if learner.scaler is not None and content["scaler"] is not None:
            learner.scaler.load_state_dict(content["scaler"])
        torch.set_rng_state(content["torch_rng"])
        if torch.cuda.is_available() and content["cuda_rng"] is not None:
            torch.cuda.set_rng_state(content["cuda_rng"])
    except UNREADABLE as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UnusableCheckpointError(f"it cannot be read ({reason})") from error
    return state


def save_best(folder: Path, last: Path, best: Validated) -> None:
    """Make the weights of the ``last`` checkpoint, just written after ``best``'s epoch, the best ones.

    Raises:
        InputError: when the disk is full; the best weights before stay.
    """
    newest = whole_folder(last)
    assert newest is not None, "the last checkpoint is written before it becomes the best one"
    with disk_full_as_input_error(folder, "the last good checkpoint is kept"), replacing_folder(folder) as partial:
        try:
            os.link(newest / WEIGHTS_NAME, partial / WEIGHTS_NAME)
        except OSError:  # a file system without hard links
            shutil.copyfile(newest / WEIGHTS_NAME, partial / WEIGHTS_NAME)
        write_json(partial / META_NAME, dataclasses.asdict(best))


def copy_best(source: Path, folder: Path, metadata: Mapping[str, str]) -> None:
    """Make the best weights of another run this one's, with its metadata.

    Raises:
        InputError: when there are none, or the disk is full.
    """
    tensors, _ = load_weights(source)
    found = whole_folder(source)
    assert found is not None, "its weights were read"
    with disk_full_as_input_error(folder, "nothing is lost"), replacing_folder(folder) as partial:
        (partial / WEIGHTS_NAME).write_bytes(safetensors_bytes(tensors, metadata))
        shutil.copyfile(found / META_NAME, partial / META_NAME)


def best_epoch(folder: Path) -> int | None:
    """Epoch, from 0, of the weights in a best checkpoint; None when there is none."""
    found = whole_folder(folder)
    return int(read_json(found / META_NAME)["epoch"]) if found is not None else None


def load_weights(folder: Path) -> tuple[Tensors, dict[str, str]]:
    """Weights of a checkpoint folder and their metadata (labels as a JSON list, network, run_id, ...).

    Raises:
        InputError: when there is no whole checkpoint.
    """
    found = whole_folder(folder)
    if found is None:
        raise InputError(f"{folder}: no checkpoint there; train the run first")
    return read_weights(found / WEIGHTS_NAME)


def read_weights(path: Path, advice: str = "") -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        InputError: when it is not a whole one; with ``advice``.
    """
    try:
        with safe_open(regular(path), framework="pt") as file:
            metadata = dict(file.metadata() or {})
        return load_file(path), metadata
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error}){advice}") from None


def weights_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
