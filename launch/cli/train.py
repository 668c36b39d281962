"""``cxr train``: train one run from its config."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from datasets.errors import InputError
from harness.config import RunConfig
from harness.runs.runtime import Precision, RuntimeConfig
from harness.runs.trackers import TrackerName
from launch.executors.prepare import as_arguments
from launch.executors.ranks import run_ranks, started_alone, started_by_launcher
from launch.executors.slurm.environment import adopt_srun_ranks

logger = logging.getLogger(__name__)
NVIDIA_DRIVER = Path("/proc/driver/nvidia")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train one run: best epoch by validation, test predictions, result.json.

    Re-run the same command to resume an interrupted run; it does nothing for a run that is done. Options given here
    override the config's [runtime] table.

    SIGTERM, SIGUSR2 and Ctrl-C write a checkpoint at the end of the step; a second one ends at once.
    Exit status: 0 done, 1 failed, 2 bad input, 130 or 143 stopped by Ctrl-C or SIGTERM.

    For example:
        cxr train run.toml --data-dir data --precision fp32
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
    """torchvision's densenet121 ImageNet file, or a folder of it and those of other networks; default: torchvision's
    cache or a download, and of other networks the library's cache alone."""
    xrv_weights: tuple[Path, ...] | None = None
    """Files of torchxrayvision weights, for a teacher or initial weights with kind = "xrv"."""
    precision: Precision | None = None
    """Arithmetic of the networks; default: auto, bf16 where the device computes in it, else fp32, and for a run that
    goes on what it began in; fp16 and tf32 need a GPU."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where to train; default: auto, which takes CUDA when there is one."""
    num_workers: int | None = None
    """Loader threads; default: the cores this process may use."""
    tier: Literal["auto", "raw", "jpeg", "resident"] | None = None
    """Where images come from: streamed from a beton of raw or JPEG pages, or held in the device's memory; default:
    auto, which takes resident if they fit well and says so. On the CPU it changes no bit of the result."""
    augment_on: Literal["auto", "cpu", "device"] | None = None
    """Who flips and rotates images; default: auto, the device if it is a GPU, else loader threads."""
    check_pages: bool = True
    """Compare each image of the beton with its checksum when it is first read; a damaged one ends the run."""
    num_threads: int | None = None
    """torch threads on the CPU; default: the cores this process may use."""
    compile: bool = False
    """Compile the student with torch.compile: minutes at the first start, then from a cache; pays on a GPU."""
    cuda_graphs: bool = True
    """On a GPU start the training step as one recorded graph: the same bits, sooner."""
    num_processes: int | None = None
    """Processes that train this run together on this machine, started here; under torchrun, accelerate launch or srun
    those that are there are used, and any other number is an error. The global batch stays what it is."""
    change_num_processes: bool = False
    """Let a run go on with another number of processes than so far, which changes its numbers and is recorded."""
    checkpoint_minutes: float | None = None
    """Minutes between checkpoints inside an epoch; default: 10; 0 for the ends of epochs alone."""
    on_nonfinite: Literal["stop", "skip"] | None = None
    """What becomes of a step whose numbers are not finite; default: stop, with a line that names its images."""
    max_steps: int | None = None
    """End after this many optimiser steps of the run, for a try; the same command without it goes on from the last
    checkpoint. Default: train to the schedule's end."""
    profile: bool = False
    """Write a torch profiler trace of a few training steps into the run folder, as trace.json."""
    tensorboard: bool = False
    """Also write TensorBoard event files into the run folder."""
    trackers: tuple[TrackerName, ...] | None = None
    """Also tell the curves to these trackers; wandb stays offline unless WANDB_MODE says otherwise."""

    def run(self) -> None:
        from harness.training.config_file import load_config
        from harness.training.preflight import finished_result, open_beton

        config, overrides = load_config(self.config)
        values = {**overrides, **self._given()}
        if self.out is not None:
            values["run_folders"] = {**values.get("run_folders", {}), config.run_id: self.out}
        try:
            runtime = RuntimeConfig(**values)
        except ValueError as error:
            raise InputError(str(error)) from None
        adopt_srun_ranks(os.environ)
        folder = runtime.folder_of(config)
        finished = finished_result(folder, config, open_beton(config, runtime))  # told without importing torch
        if finished is not None:
            logger.info(f"{folder.path}: already done")
            _print(folder.path, finished)
            return
        if (runtime.num_processes or 1) > 1 and not started_by_launcher(os.environ):
            if runtime.device != "cpu" and NVIDIA_DRIVER.exists():
                from harness.devices.accelerator import check_enough_gpus

                check_enough_gpus(runtime.num_processes or 1)
            command = [sys.executable, "-m", "launch.cli", "train", *self.arguments()]
            sys.exit(run_ranks(command, runtime.num_processes or 1))
        if started_alone(os.environ):
            raise InputError(
                "accelerate launch was asked for several processes but started this one alone, as with --cpu; "
                "give cxr train --num-processes N, or use torchrun"
            )
        _train(config, runtime)

    def arguments(self) -> list[str]:
        """The command line that gives these options."""
        given = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "config"}
        defaults = {item.name: item.default for item in dataclasses.fields(self)}
        changed = {name: value for name, value in given.items() if value != defaults[name]}
        return [str(self.config), *as_arguments(changed)]

    def _given(self) -> dict[str, Any]:
        """The runtime options that were given on the command line."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("config", "out") and getattr(self, field.name) != field.default
        }


def _train(config: RunConfig, runtime: RuntimeConfig) -> None:
    from harness.runs.beta_search import drop_decided
    from harness.runs.step_hashes import StepsDone
    from harness.training.run import train_run
    from harness.training.signals import Interrupted

    try:
        result = train_run(config, runtime)
    except Interrupted as interrupt:
        logger.info(f"interrupted by {interrupt}; re-run the same command to resume")
        sys.exit(interrupt.exit_status)
    except StepsDone as done:
        logger.info(f"{runtime.folder_of(config).path}: {done}, as --max-steps asks for")
        return
    except (FloatingPointError, MemoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    folder = runtime.folder_of(config)
    if os.environ.get("RANK", "0") == "0":
        if config.schedule.stop_after is None:  # else a later rung goes on from it
            folder.drop_resume_files()
        drop_decided(config, runtime.folder_of)
    _print(folder.path, result)


def _print(folder: Path, result: dict[str, Any]) -> None:
    if os.environ.get("RANK", "0") != "0":
        return
    mean = result["test"]["mean_auroc"]
    score = "undefined" if mean is None else f"{mean:.4f}"
    print(f"{folder}: test mean AUROC {score}, best epoch {result['best_epoch'] + 1} of {result['epochs']}")
