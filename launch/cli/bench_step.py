"""``cxr bench step``: a folder of radiographs comes in; training steps beside those of other loops go out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class BenchStep:
    """Measure training steps and validation beside a plain loop and a careful one, in turns, on the CPU.

    Example: cxr bench step --json step.json
    """

    images: Path | None = None
    """Folder of radiographs as PNG; made-up ones without it."""
    json: Path | None = None
    """Write environment, rows and ratios to this file."""
    rounds: int = 3
    """Times that each loop is measured."""
    steps: int = 2
    """Steps of one measurement of whole steps and of validation."""
    samples: int = 256
    """Radiographs, repeated up to this number, and images of an epoch."""
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

    def run(self) -> None:
        """Measure, print the ratios and write what was asked for."""
        import importlib.util

        from datasets.errors import InputError
        from datasets.files import write_json

        if importlib.util.find_spec("benchmarks") is None:
            raise InputError("benchmarks are not installed here; run this from a checkout of the repository")
        from benchmarks.step import Settings, bench_step

        settings = Settings(
            rounds=self.rounds,
            steps=self.steps,
            samples=self.samples,
            size=self.size,
            batch_size=self.batch_size,
            workers=self.workers,
            compiled=self.compiled,
            only=self.only,
        )
        measured = bench_step(self.images, settings)
        if self.json is not None:
            write_json(self.json, measured)
            print(f"written: {self.json}", file=sys.stderr)
        for name, value in measured["ratios"].items():
            if value is not None:
                print(f"{name:<48}{value:>8.3f}")
