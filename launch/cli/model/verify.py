"""``cxr verify``: compute a finished run's files again, and certify what held."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from datasets.errors import InputError
from launch.ranges import NotNegative

if TYPE_CHECKING:
    from rich.table import Table

    from harness.config import RunConfig
    from harness.runs.folder import RunFolder
    from harness.runs.runtime import RuntimeConfig

COLOURS = {"held": "green", "failed": "bold red", "not checked": "yellow"}
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Compute again what a finished run's files say, compare, and write certificate.json into its folder.

    Compared are hashes of config, beton and weights, every page of the beton, the best epoch, scores with
    predictions, predictions with weights and beton, and with --steps the first steps of training, which are made
    again in a temporary folder. On the same kind of device, precision, threads and torch they must agree to the bit;
    elsewhere predictions are compared to a tolerance. What could not be compared is named, with the reason.

    Exit status: 0 when nothing failed, 1 when something did, 2 for bad input.

    For example:
        cxr verify runs/chexpert_1k_imagenet_tl_d121_s0-0123456789 --data-dir data --steps 100
    """

    run_folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run's folder, or its id (or a part that no other has) below RUNS_DIR."""
    data_dir: Path = Path()
    """Folder that holds DATASET.beton; without one there, the beton that the run recorded is taken."""
    beton: Path | None = None
    """The run's beton, instead of the one in DATA_DIR."""
    runs_dir: Path | None = None
    """Folder of run folders, with teachers and initial weights; default: that of RUN, or runs for an id."""
    steps: NotNegative = 0
    """Optimiser steps to train again from the first epoch on; their weights are compared after steps 1, 2, 5, 10,
    ..., and the numbers of epochs that lie within them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes CUDA when there is one."""
    num_workers: int | None = None
    """Loader threads; default: the cores this process may use."""
    json: bool = False
    """Print the certificate alone."""

    def run(self) -> None:
        from harness.devices.precision import own_precision
        from harness.runs.folder import RunFolder
        from harness.runs.runtime import RuntimeConfig
        from harness.verification.verify import verify_run
        from launch.plan.run_argument import find_run_folder
        from launch.terminal import print_whole

        folder = RunFolder(find_run_folder(self.run_folder, self.runs_dir or Path("runs")))
        runtime = RuntimeConfig(
            runs_dir=self.runs_dir or folder.path.resolve().parent,
            data_dir=self.data_dir,
            beton=self.beton,
            precision=own_precision(str(folder.provenance().get("precision", "fp32")), self.device),
            device=self.device,
            num_workers=self.num_workers,
        )
        found = verify_run(folder, runtime, steps=self.steps, retrain=retrain)
        if self.json:
            print(json.dumps(found, indent=2))
        else:
            print_whole(_table(found))
            print(_summary(found, folder))
        if found["failed"]:
            sys.stdout.flush()
            sys.exit(1)


def retrain(config: RunConfig, runtime: RuntimeConfig) -> None:
    """Train a config under ``runtime``, in as many processes as it asks for.

    Raises:
        InputError: when the run cannot be trained here.
    """
    from harness.runs.step_hashes import StepsDone
    from harness.training.preflight import write_config
    from harness.training.run import train_run
    from launch.cli.train import Train
    from launch.executors.ranks import run_ranks

    folder, processes = runtime.folder_of(config), runtime.num_processes or 1
    if processes == 1:
        with suppress(StepsDone):
            train_run(config, runtime)
        return
    fields = {item.name for item in dataclasses.fields(Train)} & {item.name for item in dataclasses.fields(runtime)}
    options = {name: getattr(runtime, name) for name in fields}
    write_config(folder, config)
    train = Train(config=folder.path, out=folder.path, **options)
    status = run_ranks([sys.executable, "-m", "launch.cli", "train", *train.arguments()], processes)
    if status != 0:
        raise InputError(f"{processes} processes that trained it again ended with status {status}; see above")


def _table(found: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"verification of {found['run_id']}", title_justify="left")
    for name in ("check", "outcome"):
        table.add_column(name, no_wrap=True)
    table.add_column("what", overflow="fold")
    for check in found["checks"]:
        what = check["what"] + (f"; {check['advice']}" if check["advice"] else "")
        table.add_row(check["name"], Text(check["outcome"], style=COLOURS[check["outcome"]]), Text(what))
    return table


def _summary(found: dict[str, Any], folder: RunFolder) -> str:
    failed = ", ".join(check["name"] for check in found["checks"] if check["outcome"] == "failed")
    counts = f"{found['held']} held, {found['failed']} failed, {found['not_checked']} not checked"
    return f"{counts}{f' (failed: {failed})' if failed else ''}; {folder.certificate_file}"
