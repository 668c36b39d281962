"""``cxr bench``: a folder of radiographs comes in; rates beside those of peers, measured here and now, go out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class BenchLoader:
    """Measure every tier of the loader beside other loaders: same radiographs, same output, same cores, in turns.

    Peers that are not installed are named as absent; benchmarks/setup installs them.
    Example: cxr bench loader --images data/pngs --out benchmarks
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
        _need_benchmarks()
        from benchmarks.loaders.bench import Settings, bench_loader

        settings = Settings(
            rounds=self.rounds,
            seconds=self.seconds,
            samples=self.samples,
            size=self.size,
            batch_size=self.batch_size,
            workers=self.workers,
            only=self.only,
        )
        _hand_over(bench_loader(self.images, settings), self.json, self.out)


@dataclass(frozen=True, kw_only=True)
class BenchConvert:
    """Measure the conversion of PNG and of large JPEG files beside one process with Pillow, in turns.

    Also the time and memory to open tables of MIMIC-CXR's size. About seven minutes on two cores.
    Example: cxr bench convert --images data/pngs --out benchmarks
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
        _need_benchmarks()
        from benchmarks.conversion.bench import Settings, bench_convert

        settings = Settings(
            rounds=self.rounds,
            png=self.png,
            large=self.large,
            tables=self.tables,
            size=self.size,
            workers=self.workers,
        )
        _hand_over(bench_convert(self.images, settings), self.json, self.out)


def _need_benchmarks() -> None:
    """One clear line where the benchmarks are not at hand."""
    import importlib.util

    from datasets.errors import InputError

    if importlib.util.find_spec("benchmarks.loaders.bench") is None:
        raise InputError("benchmarks are not installed here; run this from a checkout of the repository")


def _hand_over(measured: Mapping[str, Any], json_path: Path | None, out: Path | None) -> None:
    from benchmarks.page.loader_sections import section
    from benchmarks.page.write import write_results
    from datasets.files import write_json

    if json_path is not None:
        write_json(json_path, dict(measured))
    print(section(measured))
    if out is not None:
        print(f"written: {write_results(measured, out)}", file=sys.stderr)
