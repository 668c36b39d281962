"""Write a benchmark's JSON, its chart and the results page."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.page.chart import draw
from benchmarks.page.scaling import draw_scaling, scaling_section
from benchmarks.page.sections import (
    TITLES,
    first_batch_section,
    gpu_loaders,
    grid_section,
    loader_section,
    step_section,
)
from datasets.files import read_json, write_json, write_text

BY_HAND = "notes.md"
"""Kept beside the figures: where an aim is missed, what is in the way."""


def show_results(measured: Mapping[str, Any], json: Path | None, out: Path | None) -> None:
    """Print a benchmark's section, and write its JSON and its part of the results page where that was asked for."""
    write_measured(json, measured)
    print(loader_section(measured))
    if out is not None:
        print(f"written: {write_results(measured, out)}", file=sys.stderr)


def write_measured(path: Path | None, measured: Mapping[str, Any], *, tell: bool = False) -> None:
    """Write the JSON if it was asked for."""
    if path is not None:
        write_json(path, dict(measured))
        if tell:
            print(f"written: {path}", file=sys.stderr)


def write_results(measured: Mapping[str, Any], folder: Path) -> Path:
    """Write ``KIND.json``, ``KIND.png`` and, from all kinds measured so far, ``RESULTS.md``; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = measured["environment"]["kind"]
    write_json(folder / f"{kind}.json", dict(measured))
    (draw_scaling if kind == "scaling" else draw)(measured, folder / f"{kind}.png")
    return write_page(folder)


def write_page(folder: Path) -> Path:
    """Write ``RESULTS.md`` from all that has been measured into ``folder``; returns the page."""
    page = folder / "RESULTS.md"
    write_text(page, "\n\n".join(results(folder)) + "\n")
    return page


def results(folder: Path) -> list[str]:
    """The sections of the page: of each JSON file of ``folder``, of those of other machines, and what is by hand."""
    parts = [
        "# Measured",
        "Written by `cxr bench loader --out DIR`, `cxr bench convert --out DIR` and `python -m benchmarks.page.write "
        "DIR` from the JSON files beside it.",
    ]
    parts += [loader_section(one) for kind in TITLES for one in _read(folder, f"{kind}.json")]
    for one in _read(folder, "loader-*.json", gpu=False):
        parts.append(loader_section(one, title=f"Loaders on {one['environment']['cpu']}", chart=False))
    parts += map(scaling_section, _read(folder, "scaling.json"))
    parts += map(first_batch_section, _read(folder, "first_batch.json"))
    parts += [step_section(one, "Training steps") for one in _read(folder, "step.json")]
    for one in _read(folder, "step-*.json", gpu=False):
        parts.append(step_section(one, f"Training steps on {one['environment']['cpu']}"))
    for one in _read(folder, "step-*.json", gpu=True):
        parts.append(step_section(one, f"On a GPU: training steps in {one['environment']['precision']}"))
    parts += _text(folder / "gpu.md")
    parts += map(gpu_loaders, _read(folder, "loader-gpu.json"))
    parts += map(grid_section, _read(folder, "grid.json"))
    return parts + _text(folder / "science.md") + _text(folder / BY_HAND)


def _read(folder: Path, pattern: str, *, gpu: bool | None = None) -> list[dict[str, Any]]:
    """The measurements that are there; with ``gpu`` those on machines with or without one."""
    found = [read_json(path) for path in sorted(folder.glob(pattern))]
    return [one for one in found if gpu is None or (one["environment"]["gpu"] is not None) == gpu]


def _text(path: Path) -> list[str]:
    return [path.read_text(encoding="utf-8").strip()] if path.is_file() else []


if __name__ == "__main__":
    print(write_page(Path(sys.argv[1])))
