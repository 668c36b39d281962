"""How and where a run is executed: values that change its speed and its files, never its hash."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


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

    def beton_for(self, dataset: str) -> Path:
        """Path of the beton that holds ``dataset``."""
        return self.beton if self.beton is not None else self.data_dir / f"{dataset}.beton"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            key: str(value) if isinstance(value, Path) else value for key, value in dataclasses.asdict(self).items()
        }
