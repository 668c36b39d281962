"""``cxr train``: a config file comes in; a run folder goes out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train one run: best epoch by validation, test predictions, result.json.

    The same command goes on where a run was stopped, and does nothing for a run that is done. Options given here win
    over the config's [runtime] table.

    Example: cxr train run.toml --data-dir data --precision bf16
    """

    config: tyro.conf.Positional[Path]
    """Config: a .toml or .json file, or a run folder."""
    out: Path | None = None
    """The run's folder; default: RUNS_DIR/RUN_ID."""
    runs_dir: Path | None = None
    """Folder of run folders, where teachers and initial weights are found too; default: runs."""
    data_dir: Path | None = None
    """Folder that holds DATASET.beton; default: the current folder."""
    beton: Path | None = None
    """The run's beton, instead of the one in DATA_DIR."""
    imagenet_weights: Path | None = None
    """torchvision's densenet121 ImageNet file; default: torchvision's cache, or a download."""
    xrv_weights: tuple[Path, ...] | None = None
    """Files of torchxrayvision weights, for a teacher or initial weights with kind = "xrv"."""
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    """Arithmetic of the networks; default: fp32. fp16 needs a GPU."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where to train; default: auto, which takes CUDA when there is one."""
    num_workers: int | None = None
    """Loader threads; default: the cores this process may use."""
    num_threads: int | None = None
    """torch threads on the CPU; default: the cores this process may use."""
    tensorboard: bool = False
    """Also write TensorBoard event files into the run folder."""

    def run(self) -> None:
        from harness.config_file import load_config
        from harness.runtime import RuntimeConfig

        config, overrides = load_config(self.config)
        values = {**overrides, **self._given()}
        if self.out is not None:
            values["run_folders"] = {**values.get("run_folders", {}), config.run_id: self.out}
        runtime = RuntimeConfig(**values)

        from harness.run import train_run

        result = train_run(config, runtime)
        mean = result["test"]["mean_auroc"]
        score = "undefined" if mean is None else f"{mean:.4f}"
        print(f"{runtime.folder_of(config).path}: test mean AUROC {score}, best epoch {result['best_epoch']}")

    def _given(self) -> dict[str, Any]:
        """The runtime options that were given on the command line."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("config", "out", "tensorboard")
        }
        given = {name: value for name, value in values.items() if value is not None}
        return {**given, "tensorboard": True} if self.tensorboard else given
