"""The command line of one run: folders and runtime options come in, arguments of ``cxr train`` go out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.runs.folder import RunFolder
from harness.runs.runtime import Precision
from launch.grids.grid import GridRun


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Runtime options shared by the runs of one submit; called with a run it gives the command to start."""

    runs_dir: Path
    data_dir: Path
    precision: Precision
    device: Literal["auto", "cpu", "cuda"]
    num_threads: int
    imagenet_weights: Path | None
    options: tuple[str, ...] = ()
    """Further arguments of ``cxr train``."""

    def __call__(self, run: GridRun) -> list[str]:
        """The command line; it works by hand too."""
        arguments = [sys.executable, "-m", "launch.cli", "train"]
        arguments += [str(RunFolder(self.runs_dir / run.run_id).config_file)]
        arguments += ["--runs-dir", str(self.runs_dir), "--data-dir", str(self.data_dir)]
        arguments += ["--precision", self.precision, "--device", self.device]
        arguments += ["--num-threads", str(self.num_threads), "--num-workers", str(self.num_threads)]
        if self.imagenet_weights is not None:
            arguments += ["--imagenet-weights", str(self.imagenet_weights)]
        return [*arguments, *self.options]
