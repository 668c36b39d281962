"""How and where a run is executed: values that change its speed and its files, never its hash."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.config import RunConfig
from harness.run_folder import RunFolder

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
    """torchvision's densenet121 IMAGENET1K_V1 file; without it torchvision's own cache or download is used."""
    xrv_weights: tuple[Path, ...] = ()
    """Files of torchxrayvision weights; the one whose hash a config names is used."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the networks; losses are always float32. fp16 needs a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes CUDA when there is one."""
    num_workers: int | None = None
    """Loader threads; None takes the cores this process may use."""
    num_threads: int | None = None
    """torch threads on the CPU; None takes the cores this process may use."""
    tensorboard: bool = False
    """Also write TensorBoard event files into the run folder."""
    run_folders: Mapping[str, Path] = field(default_factory=dict)
    """Where runs given by path lie, by run id; every other run is in runs_dir."""

    def beton_for(self, dataset: str) -> Path:
        """Path of the beton that holds ``dataset``."""
        return self.beton if self.beton is not None else self.data_dir / f"{dataset}.beton"

    def folder_of(self, config: RunConfig) -> RunFolder:
        """Folder of a run: the one it was given by, or runs_dir/run_id."""
        return RunFolder(self.run_folders.get(config.run_id, self.runs_dir / config.run_id))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        return values
