"""A made-up grid of many runs, and folders as half-finished runs leave them."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launch.grids.grid import Grid, GridRun
from launch.grids.paper import paper_grid

PARTS = ("done",) * 12 + ("absent",) * 5 + ("running", "failed", "partial")
"""What the repetitions of a made-up folder are, in turn; prerequisites and searches are done."""
EPOCHS = 128
LABELS = 14
MOST_NAMES = 50_000
"""Of one file: ext4 has 65,000."""


def made_up_grid(size: int) -> Grid:
    """The paper's design with as many repetitions as make ``size`` runs."""
    paper = paper_grid()
    runs = [run for run in paper.runs if run.kind != "repetition"]
    first = [run for run in paper.runs if run.name.endswith("_r0")]
    seed = 0
    while len(runs) < size:
        for run in first[: size - len(runs)]:
            config = dataclasses.replace(run.config, seed=seed)
            runs.append(GridRun(name=f"{run.name[:-1]}{seed}", kind="repetition", config=config, cells=run.cells))
        seed += 1
    return Grid(name=f"made_up_{size}", runs=tuple(runs[:size]))


def write_run_folders(grid: Grid, runs_dir: Path) -> None:
    """Folders with status.json, result.json, config.json and metrics.jsonl (few files, many names) of 128 epochs."""
    runs_dir.mkdir(parents=True)
    for number, run in enumerate(grid.runs):
        if number % MOST_NAMES == 0:
            metrics = runs_dir / f"metrics_{number}.jsonl"
            metrics.write_text("".join(_metrics_lines()), encoding="utf-8")
        part = PARTS[number % len(PARTS)] if run.kind == "repetition" else "done"
        if part == "absent":
            continue
        folder = runs_dir / run.run_id
        folder.mkdir()
        (folder / "metrics.jsonl").hardlink_to(metrics)
        _write(folder / "config.json", {"schema": 1, "run_id": run.run_id, "name": run.name, "config": {}})
        _write(folder / "status.json", _status(part))
        if part == "done":
            _write(folder / "result.json", _result(run))


def _status(part: str) -> dict[str, Any]:
    state = {"partial": "interrupted"}.get(part, part)
    epoch = EPOCHS if part == "done" else EPOCHS // 2
    status = {"state": state, "epoch": epoch, "epochs": EPOCHS, "updated": time.time(), "pid": 1, "host": "elsewhere"}
    error = "RuntimeError: CUDA error: an illegal memory access was encountered" if part == "failed" else None
    return {**status, "error": error, "mean_auroc": 0.7712, "images_per_s": 512.25}


def _result(run: GridRun) -> dict[str, Any]:
    labels = {f"label_{number}": 0.7 + number / 1000 for number in range(LABELS)}
    scores = {"mean_auroc": 0.7698, "auroc": labels, "num_valid": LABELS, "cross_entropy": 0.31}
    facts = {"run_id": run.run_id, "name": run.config.name, "status": "done", "config_hash": run.config.hash}
    content = {"content_hash": "0" * 64, "best_epoch": 60, "epochs": EPOCHS, "validation": {"mean_auroc": 0.77}}
    speed = {"world_size": 1, "restarts": 1, "train_images": 1000, "seconds": 7200.5, "images_per_s": 512.25}
    return {**facts, **content, "test": scores, **speed}


def _metrics_lines() -> Iterator[str]:
    for epoch in range(EPOCHS):
        record = {"epoch": epoch, "step": 32 * epoch, "train": {"mean_auroc": 0.8, "cross_entropy": 0.3}}
        validation = {"mean_auroc": 0.77, "auroc": {f"label_{number}": 0.75 for number in range(LABELS)}}
        yield json.dumps({**record, "validation": validation, "images_per_s": 512.25}) + "\n"


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
