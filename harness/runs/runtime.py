"""How and where a run is executed: values that change its speed and its files, never its hash."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datasets.errors import InputError, check
from datasets.sources.registry import beton_of
from harness.config import RunConfig
from harness.config.checks import check_choice, check_count
from harness.runs.folder import RunFolder
from harness.runs.trackers import TrackerName

Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
"""fp32 is float32 throughout; tf32 is float32 whose products a GPU's tensor cores round to 10 bits; ``auto`` is bf16
where the device computes in it by itself, else fp32."""

MAX_THREADS = 1024
"""Most threads, loader threads or processes of a run; torch ends by a signal when it cannot start those asked for."""
FolderOf = Callable[[RunConfig], RunFolder]
"""Tells where a run lies; ``RuntimeConfig.folder_of`` is one."""


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Folders, devices and precision of one run."""

    runs_dir: Path = Path("runs")
    """Folder of run folders; a run, its teacher and its initial weights are found here by run id."""
    data_dir: Path = Path()
    """Folder that holds DATASET.beton for each dataset."""
    beton: Path | None = None
    """The beton of this run, instead of the one in data_dir."""
    imagenet_weights: Path | None = None
    """torchvision's densenet121 IMAGENET1K_V1 file, or a folder of it and those of other networks; without it
    torchvision's own cache or download is used, and of other networks the library's cache alone."""
    xrv_weights: tuple[Path, ...] = ()
    """Files of torchxrayvision weights; the one whose hash a config names is used."""
    precision: Precision = "auto"
    """Arithmetic of the networks; losses are always float32. fp16 and tf32 need a GPU. ``auto`` goes on in that of
    a run's checkpoint."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes CUDA when there is one."""
    num_workers: int | None = None
    """Loader threads; None takes the cores this process may use."""
    tier: Literal["auto", "raw", "jpeg", "resident"] = "auto"
    """Where images come from: streamed from the beton, or held in the device's memory; ``auto`` goes by what fits."""
    augment_on: Literal["auto", "cpu", "device"] = "auto"
    """Who flips and rotates: loader threads or the network's device; ``auto`` takes the device if it is CUDA."""
    check_pages: bool = True
    """Compare each page of a beton with its checksum the first time that a process reads it."""
    num_threads: int | None = None
    """torch threads on the CPU; None takes the cores this process may use."""
    compile: bool = False
    """Compile the student with torch.compile: minutes once, then faster steps; needs a C++ compiler on the CPU."""
    cuda_graphs: bool = True
    """On CUDA, and in a single process, record the training step and validation once and start them as graphs: the
    same numbers to the bit, in a third of the time."""
    tensorboard: bool = False
    """Also write TensorBoard event files into the run folder."""
    trackers: tuple[TrackerName, ...] = ()
    """Also tell the curves to these trackers."""
    profile: bool = False
    """Write a torch profiler trace of a few training steps into the run folder."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints inside an epoch; 0 writes them at the ends of epochs alone."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """What becomes of a step whose numbers are not finite: ``stop`` ends the run with one line that names its images,
    ``skip`` leaves the step out and counts it, which needs a look at the device at every step."""
    max_steps: int | None = None
    """End after this many optimiser steps of the run, as a signal would end it; None trains to the schedule's end."""
    num_processes: int | None = None
    """Processes that train this run together; any other number that a launcher started is an error. None takes what
    is there."""
    change_num_processes: bool = False
    """Let a run go on with another number of processes than before, which changes its numbers and is recorded."""
    run_folders: Mapping[str, Path] = field(default_factory=dict)
    """Where runs given by path lie, by run id; every other run is in runs_dir."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        check(0 <= self.checkpoint_minutes < math.inf, "checkpoint_minutes must be at least 0")
        check_choice("on_nonfinite", self.on_nonfinite, Literal["stop", "skip"])
        check_choice("tier", self.tier, Literal["auto", "raw", "jpeg", "resident"])
        check_choice("augment_on", self.augment_on, Literal["auto", "cpu", "device"])
        for tracker in self.trackers:
            check_choice("trackers", tracker, TrackerName)
        for name in ("num_workers", "num_threads", "num_processes"):
            check_count(name, getattr(self, name), MAX_THREADS)
        check_count("max_steps", self.max_steps)

    def beton_for(self, dataset: str) -> Path:
        """Path of the beton that holds ``dataset``.

        Raises:
            InputError: when it is to lie in ``data_dir``, and nothing is known of a dataset of this name.
        """
        return self.beton if self.beton is not None else beton_of(dataset, self.data_dir)

    def folder_of(self, config: RunConfig) -> RunFolder:
        """Folder of a run: the one it was given by, or runs_dir/run_id."""
        return RunFolder(self.run_folders.get(config.run_id, self.runs_dir / config.run_id))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        return values


def launched_processes() -> int:
    """Processes that a launcher started together with this one; 1 without a launcher.

    Raises:
        InputError: when WORLD_SIZE is no count, or what else the processes need to find each other is not set.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"WORLD_SIZE = {text!r} in the environment: expected a number of processes; unset it")
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if int(text) > 1 and missing:
        raise InputError(
            f"WORLD_SIZE = {text} in the environment, but {missing[0]} is not set; a launcher such as torchrun sets "
            "both: unset WORLD_SIZE and use --num-processes"
        )
    return int(text)
