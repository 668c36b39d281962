"""``cxr bench node``: how much several runs at once get done on one GPU, or on one machine without a GPU.

The runs are started as a user starts them, by ``cxr grid submit`` on this machine, one process for each.
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.common.environment import describe, load_average
from benchmarks.common.results import spread
from benchmarks.common.settings import Bench, check_positive, chosen
from datasets.errors import InputError
from harness.runs.folder import RunFolder
from launch.executors.mps import CONTROL
from launch.executors.placement import visible_gpus

NOTE = (
    "Training images of all runs together per second, validation and the ends of epochs included, over the time in "
    "which all of them train: from the end of the first epoch of the run that begins last to the first end of a run. "
    "On a GPU a run is let in beside others when these have trained an epoch. Networks have random weights."
)
GRID = """\
[defaults]
data = {{ dataset = "chestxray14", image_size = {size}, subset = "{subset}" }}
network.name = "{network}"
init.kind = "none"
schedule = {{ epochs = {epochs}, batch_size = {batch_size} }}

[[runs]]
name = "node"
seeds = {runs}
"""
Epochs = Sequence[tuple[float, float]]
"""Of one run: the Unix time of the end of each epoch, in s, and its training images."""


@dataclass(frozen=True, kw_only=True)
class BenchNode(Bench):
    """Measure 1, 2, 3 and 4 runs at once on one GPU, with MPS and without; on a machine without a GPU, on its cores.

    For example:
        cxr bench node --out benchmarks --data-dir data
    """

    data_dir: Path | None = None
    """Folder with chestxray14.beton; made-up radiographs without it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes the first visible GPU when there is one."""
    runs: tuple[int, ...] = (1, 2, 3, 4)
    """Numbers of runs at once."""
    network: Literal["densenet121", "densenet40"] = "densenet121"
    """What is trained, by transfer learning."""
    subset: str = "1k"
    """Training images of each run, as a config has it."""
    size: int = 256
    """Side of the images in pixels."""
    batch_size: int = 32
    """Images of a step."""
    epochs: int = 12
    """Epochs of each run: enough for all to train at once after they have begun one after another."""
    patients: int = 1000
    """Patients of the made-up radiographs."""

    def measure(self) -> dict[str, Any]:
        """Measure and return the object of ``--json``; ratios are of each number over one run.

        Raises:
            InputError: for options that make no sense, CUDA without a GPU, or a command that fails.
        """
        check_positive(self, "rounds", "size", "batch_size", "patients")
        if min(self.runs, default=0) < 1 or self.epochs < 2:
            raise InputError("--runs must name numbers above 0, and --epochs be at least 2")
        gpu = self._gpu()
        variants = [(count, False) for count in self.runs]
        if gpu is not None and shutil.which(CONTROL) is not None:
            variants += [(count, True) for count in self.runs if count > 1]
        names = ("runs", "rounds", "network", "subset", "size", "batch_size", "epochs")
        environment = {"kind": "node", "note": NOTE, **describe(), "device": gpu or "cpu", **chosen(self, *names)}
        found: dict[tuple[int, bool], list[float]] = {variant: [] for variant in variants}
        with tempfile.TemporaryDirectory(prefix="cxr-bench-node-") as name:
            data_dir = self.data_dir or self._made_up(Path(name))
            for number in range(self.rounds):
                for count, mps in variants:
                    runs_dir = Path(name) / f"runs-{number}-{count}-{mps}"
                    self._train(runs_dir, data_dir, gpu, count, mps=mps)
                    found[count, mps].append(aggregate_rate([epochs_of(path) for path in run_folders(runs_dir)]))
                    said = f"round {number + 1}/{self.rounds}  {count} runs{' by MPS' * mps}"
                    print(f"{said:<40}{found[count, mps][-1]:>10.1f} images/s", file=sys.stderr, flush=True)
                    shutil.rmtree(runs_dir, ignore_errors=True)
        environment["load_average_after"] = load_average()
        return {"environment": environment, "rows": rows_of(found), "ratios": gains(found)}

    def _gpu(self) -> str | None:
        gpus = visible_gpus(os.environ) if self.device != "cpu" else ()
        if self.device == "cuda" and not gpus:
            raise InputError(
                "--device cuda: neither nvidia-smi nor CUDA_VISIBLE_DEVICES shows a GPU; use cpu or auto"
            )
        return gpus[0] if gpus else None

    def _made_up(self, folder: Path) -> Path:
        """Write made-up radiographs and convert them; returns the folder of the beton."""
        root = folder / "phantom"
        wanted = ["--datasets", "chestxray14", "--patients", str(self.patients), "--size", str(self.size)]
        call("phantom", str(root), *wanted)
        out = folder / "data" / "chestxray14.beton"
        out.parent.mkdir()
        call("convert", "chestxray14", "--root", f"{root}/ChestX-ray14", "--out", str(out), "--size", str(self.size))
        return out.parent

    def _train(self, runs_dir: Path, data_dir: Path, gpu: str | None, count: int, *, mps: bool) -> None:
        grid = runs_dir.with_suffix(".toml")
        grid.write_text(GRID.format(**{**vars(self), "runs": count}), encoding="utf-8")
        device = "cpu" if gpu is None else "cuda"
        options = ["--slots" if gpu is None else "--runs-per-gpu", str(count), *["--mps"] * mps, "--device", device]
        environment = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        where = ["--runs-dir", str(runs_dir), "--data-dir", str(data_dir)]
        call("grid", "submit", str(grid), *where, *options, **environment)


def call(*arguments: str, **environment: str) -> None:
    """Run ``cxr`` to its end.

    Raises:
        InputError: with its last words when it fails.
    """
    command = [sys.executable, "-m", "launch.cli", *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = " / ".join(done.stderr.strip().splitlines()[-4:])
        raise InputError(f"cxr {' '.join(arguments[:2])} ended with {done.returncode}: {words}")


def run_folders(runs_dir: Path) -> list[RunFolder]:
    """The runs of a folder."""
    return [RunFolder(path.parent) for path in sorted(runs_dir.glob("*/result.json"))]


def epochs_of(folder: RunFolder) -> Epochs:
    """When a run's epochs ended, and how many images each trained."""
    began = folder.provenance()["started"]
    records = folder.metrics()
    images = folder.result()["train_images"]  # type: ignore[index]  # it is done
    return [(began + record["elapsed_s"], float(images)) for record in records]


def aggregate_rate(runs: Sequence[Epochs]) -> float:
    """Images per second of all runs together while all of them train; an epoch counts by the part that lies within.

    Raises:
        InputError: when there is no such time.
    """
    start, end = max(run[0][0] for run in runs), min(run[-1][0] for run in runs)
    if start >= end:
        raise InputError("the runs never trained all at once; give more --epochs")
    total = 0.0
    for run in runs:
        for (before, _), (after, images) in itertools.pairwise(run):
            inside = max(0.0, min(after, end) - max(before, start))
            total += images * inside / (after - before)
    return total / (end - start)


def rows_of(found: Mapping[tuple[int, bool], Sequence[float]]) -> list[dict[str, Any]]:
    """Medians and spreads, by the number of runs, with MPS and without."""
    return [
        {
            "runs": count,
            "mps": mps,
            "rounds": len(rates),
            "images_per_s": statistics.median(rates),
            "spread": spread(rates),
            "values": list(rates),
        }
        for (count, mps), rates in found.items()
    ]


def gains(found: Mapping[tuple[int, bool], Sequence[float]]) -> dict[str, float]:
    """What several runs get done over what one does."""
    alone = found.get((1, False))
    if not alone:
        return {}
    one = statistics.median(alone)
    return {
        f"{count}_runs{'_by_mps' * mps}_over_1": statistics.median(rates) / one
        for (count, mps), rates in found.items()
        if count > 1
    }
