"""``cxr bench``: measure loaders, conversion, training steps and grid commands beside those of others."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from datasets.errors import InputError
from datasets.files import write_json

SettingsT = TypeVar("SettingsT")
STEP_DEFAULTS = {"cpu": (2, 256), "cuda": (20, 5376)}
"""Steps of a measurement and samples, by device."""


@dataclass(frozen=True, kw_only=True)
class BenchLoader:
    """Measure every tier of the loader beside other loaders: same radiographs, same output, same cores, in turns.

    Peers that are not installed are named as absent; benchmarks/setup installs them.

    For example:
        cxr bench loader --images data/pngs --out benchmarks
    """

    images: Path | None = None
    """Folder of radiographs as PNG; made-up ones without it."""
    json: Path | None = None
    """Write environment, rows and ratios to this file."""
    out: Path | None = None
    """Write loader.json, loader.png and RESULTS.md into this folder."""
    rounds: int = 5
    """Times that each contender is measured."""
    seconds: float = 3.0
    """Least duration of one measurement."""
    samples: int = 8192
    """Samples of an epoch; the radiographs are repeated up to this number."""
    size: int = 256
    """Side of the images in pixels, a multiple of 32."""
    batch_size: int = 64
    """Images of a batch."""
    workers: int = 2
    """Threads or processes of each contender, and cores that it may use."""
    only: tuple[str, ...] = ()
    """Names of contenders to measure; default: all."""

    def run(self) -> None:
        """Measure, print the tables and write what was asked for."""
        from benchmarks.loaders.bench import Settings, bench_loader

        _write(bench_loader(self.images, _settings(Settings, self)), self.json, self.out)


@dataclass(frozen=True, kw_only=True)
class BenchConvert:
    """Measure the conversion of PNG and of large JPEG files beside one process with Pillow, in turns.

    Also the time and memory to open tables of MIMIC-CXR's size. About seven minutes on two cores.

    For example:
        cxr bench convert --images data/pngs --out benchmarks
    """

    images: Path | None = None
    """Folder of radiographs as PNG; made-up ones without it. The large JPEG files are made from them."""
    json: Path | None = None
    """Write environment, rows and ratios to this file."""
    out: Path | None = None
    """Write convert.json, convert.png and RESULTS.md into this folder."""
    rounds: int = 5
    """Times that each conversion is measured."""
    png: int = 2000
    """PNG files of a conversion; the radiographs are repeated up to this number."""
    large: int = 2000
    """Large JPEG files of a conversion."""
    tables: int = 371_858
    """Images of the made-up MIMIC-CXR tables that are opened; 0: leave this out."""
    size: int = 256
    """Side of the pages in pixels, a multiple of 32."""
    workers: int = 2
    """Decoder processes of ours."""

    def run(self) -> None:
        """Measure, print the tables and write what was asked for."""
        from benchmarks.conversion.bench import Settings, bench_convert

        _write(bench_convert(self.images, _settings(Settings, self)), self.json, self.out)


@dataclass(frozen=True, kw_only=True)
class BenchStep:
    """Measure training steps and validation beside a plain and a careful loop, in turns; on a GPU if there is one.

    For example:
        cxr bench step --json step.json
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
        from benchmarks.step.bench import Settings, bench_step

        device = self._device()
        steps, samples = STEP_DEFAULTS[device]
        settings = _settings(
            Settings,
            self,
            device=device,
            steps=steps if self.steps is None else self.steps,
            samples=samples if self.samples is None else self.samples,
        )
        out = self.json
        measured = bench_step(self.images, settings, lambda partial: _write_json(out, partial))
        _write_json(out, measured, tell=True)
        for name, value in measured["ratios"].items():
            if value is not None:
                print(f"{name:<48}{value:>8.3f}")

    def _device(self) -> Literal["cpu", "cuda"]:
        """Return the device that was asked for.

        Raises:
            InputError: for CUDA where torch sees no GPU.
        """
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: torch sees no GPU on this machine; use cpu or auto")
        return "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, kw_only=True)
class BenchGrid:
    """Measure whole commands over grids of many runs: plan, status, and a submit against a recorded sbatch.

    For example:
        cxr bench grid --json grid.json --sizes 200 2000 20000
    """

    json: Path | None = None
    """Write environment, rows and ratios to this file."""
    sizes: tuple[int, ...] = (200, 2000, 20_000)
    """Numbers of runs."""
    rounds: int = 5
    """Times that each command is measured; a submit of more than 2,000 runs once."""
    only: tuple[str, ...] = ()
    """Of plan, status, status_json, submit, status_queued (of what the submit queued); default: all."""

    def run(self) -> None:
        """Measure, print the table and write what was asked for."""
        from benchmarks.grids.bench import COMMANDS, Settings, bench_grid, table

        measured = bench_grid(Settings(sizes=self.sizes, rounds=self.rounds, commands=self.only or COMMANDS))
        print(table(measured))
        _write_json(self.json, measured, tell=True)


def _settings(kind: type[SettingsT], options: Any, **values: Any) -> SettingsT:
    """Build a benchmark's settings from the command's options of the same names, and from ``values``."""
    names = {field.name for field in fields(kind)} & {field.name for field in fields(options)}  # type: ignore[arg-type]
    return kind(**{name: getattr(options, name) for name in names} | values)


def _write_json(path: Path | None, measured: Mapping[str, Any], *, tell: bool = False) -> None:
    if path is not None:
        write_json(path, dict(measured))
        if tell:
            print(f"written: {path}", file=sys.stderr)


def _write(measured: Mapping[str, Any], json_path: Path | None, out: Path | None) -> None:
    from benchmarks.page.loader_sections import section
    from benchmarks.page.write import write_results

    _write_json(json_path, measured)
    print(section(measured))
    if out is not None:
        print(f"written: {write_results(measured, out)}", file=sys.stderr)
