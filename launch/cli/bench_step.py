"""``cxr bench step``: a folder of radiographs comes in; training steps beside those of other loops go out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

DEFAULTS = {"cpu": (2, 256), "cuda": (20, 5376)}
"""Steps of a measurement and samples, by device."""


@dataclass(frozen=True, kw_only=True)
class BenchStep:
    """Measure training steps and validation beside a plain and a careful loop, in turns; on a GPU if there is one.

    Example: cxr bench step --json step.json
    """

    images: Path | None = None
    """Folder of radiographs as PNG; made-up ones without it."""
    json: Path | None = None
    """Write environment, rows and ratios to this file, after each round what there is so far."""
    rounds: int = 3
    """Times that each loop is measured."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes CUDA when there is one."""
    steps: int | None = None
    """Steps of one measurement of whole steps and of validation; default: 2, on a GPU 20."""
    samples: int | None = None
    """Radiographs, repeated up to this number, and images of an epoch; default: 256, on a GPU 5376."""
    size: int = 256
    """Side of the images in pixels, a multiple of 32."""
    batch_size: int = 32
    """Images of a step."""
    workers: int = 2
    """Cores that a loop may use, and its loader's workers."""
    compiled: bool = False
    """Measure DenseNet-121 in ours and in the careful loop with torch.compile as well; compiling takes minutes."""
    only: tuple[str, ...] = ()
    """Cases to measure, as transfer_learning_121; default: all."""
    loops: tuple[str, ...] = ()
    """Loops to measure: reference, careful, ours, and with --compiled careful_compiled and ours_compiled; default:
    all."""

    def run(self) -> None:
        """Measure, print the ratios and write what was asked for."""
        import importlib.util

        from datasets.errors import InputError
        from datasets.files import write_json

        if importlib.util.find_spec("benchmarks") is None:
            raise InputError("benchmarks are not installed here; run this from a checkout of the repository")
        from benchmarks.step.bench import Settings, bench_step

        device = self._device()
        steps, samples = DEFAULTS[device]
        settings = Settings(
            rounds=self.rounds,
            device=device,
            steps=steps if self.steps is None else self.steps,
            samples=samples if self.samples is None else self.samples,
            size=self.size,
            batch_size=self.batch_size,
            workers=self.workers,
            compiled=self.compiled,
            only=self.only,
            loops=self.loops,
        )
        out = self.json

        def keep(measured: dict[str, Any]) -> None:
            if out is not None:
                write_json(out, measured)

        measured = bench_step(self.images, settings, keep)
        keep(measured)
        if self.json is not None:
            print(f"written: {self.json}", file=sys.stderr)
        for name, value in measured["ratios"].items():
            if value is not None:
                print(f"{name:<48}{value:>8.3f}")

    def _device(self) -> Literal["cpu", "cuda"]:
        """The device that was asked for, if there is one.

        Raises:
            InputError: for CUDA where torch sees no GPU.
        """
        import torch

        from datasets.errors import InputError

        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: torch sees no GPU on this machine; use cpu or auto")
        return "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"
