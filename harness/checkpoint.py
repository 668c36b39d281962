"""Checkpoints: network, optimiser and the run's position come in; folders that are whole or absent go out, and back.

A checkpoint folder holds ``model.safetensors`` (weights; label names and origin in its metadata) and, for ``last``,
``state.pt`` (optimiser, scaler, random state, position), for ``best``, ``meta.json``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from datasets.errors import InputError
from datasets.files import read_json, write_json
from harness.schedule import Validated

WEIGHTS_NAME = "model.safetensors"
STATE_NAME = "state.pt"
META_NAME = "meta.json"
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a run has come: everything but tensors that a resumed run needs."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Optimiser steps done."""
    images: int = 0
    """Training images seen over all processes."""
    train_seconds: float = 0.0
    """Seconds spent in training steps, waiting for data included."""
    seconds: float = 0.0
    """Seconds spent in all, over all starts up to this checkpoint."""
    restarts: int = 0
    """How often the run was taken up again."""
    history: tuple[Validated, ...] = ()
    """Every validation so far, in order."""


def save_last(
    folder: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    position: Position,
    metadata: Mapping[str, str],
    beside: nn.Module | None = None,
) -> None:
    """Write the checkpoint from which a run goes on; the one before stays until this one is whole.

    ``beside`` is what the run trains beside the network; it is in no file of weights.
    """
    state = {
        "position": dataclasses.asdict(position),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "beside": beside.state_dict() if beside is not None else None,
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }
    with replacing_folder(folder) as partial:
        _save_weights(partial / WEIGHTS_NAME, network, metadata)
        torch.save(state, partial / STATE_NAME)


def load_last(
    folder: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    beside: nn.Module | None = None,
) -> Position | None:
    """Put the last whole checkpoint into network, optimiser, scaler, ``beside`` and random state; None if none."""
    found = whole_folder(folder)
    if found is None:
        return None
    try:
        network.load_state_dict(load_file(found / WEIGHTS_NAME))
        state = torch.load(found / STATE_NAME, map_location="cpu", weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        if beside is not None:
            beside.load_state_dict(state["beside"])
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
        cause = str(error).splitlines()[0]
        raise InputError(f"{found}: cannot be read ({cause}); remove this folder to start the run anew") from error
    if scaler is not None and state["scaler"] is not None:
        scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(state["torch_rng"])
    if torch.cuda.is_available() and state["cuda_rng"] is not None:
        torch.cuda.set_rng_state(state["cuda_rng"])
    values = dict(state["position"])
    history = tuple(Validated(**item) for item in values.pop("history"))
    return Position(**values, history=history)


def save_best(folder: Path, last: Path, best: Validated) -> None:
    """Make the weights of the ``last`` checkpoint, just written after ``best``'s epoch, the best ones."""
    newest = whole_folder(last)
    assert newest is not None, "the last checkpoint is written before it becomes the best one"
    with replacing_folder(folder) as partial:
        try:
            os.link(newest / WEIGHTS_NAME, partial / WEIGHTS_NAME)
        except OSError:  # a file system without hard links
            shutil.copyfile(newest / WEIGHTS_NAME, partial / WEIGHTS_NAME)
        write_json(partial / META_NAME, dataclasses.asdict(best))


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
    path = found / WEIGHTS_NAME
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
        return load_file(path), metadata
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error


def weights_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside ``folder``; on success it takes its place.

    A folder cannot be renamed over a full one, so the old one steps aside first: a process killed at any moment
    leaves a whole folder under one of the two names that ``whole_folder`` knows.
    """
    partial, old = _beside(folder, "partial"), _beside(folder, "old")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    for file in partial.iterdir():
        _sync(file)
    _sync(partial)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    partial.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def whole_folder(folder: Path) -> Path | None:
    """``folder``, or the one that stepped aside for it; None when neither is there."""
    return next((path for path in (folder, _beside(folder, "old")) if path.exists()), None)


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(f"{folder.name}.{suffix}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _save_weights(path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
    # safetensors wants plain strides; channels_last weights have others.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, metadata=dict(metadata))
