"""Run the science checks on made-up images and write science.json, two figures and the results page.

Does attention transfer behave as the paper says, and by how much, where everything is made up? Finished runs are
recognised and interrupted ones resume: run the same command again.

Run: python -m benchmarks.science --out benchmarks [--work runs/science]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common.environment import describe, load_average
from benchmarks.page.write import write_page
from benchmarks.science.data import prepare
from benchmarks.science.page import write_results
from benchmarks.science.scores import collect
from datasets.errors import InputError
from launch.cli.grid.submit import Submit


def train_all(work: Path, *, threads: int) -> None:
    """Train every run below ``work``, one after another, each after those that it needs."""
    folders: dict[str, Any] = {"runs_dir": work / "runs", "data_dir": work / "data"}
    grid_file = str(Path(__file__).with_name("runs.py"))
    Submit(grid=grid_file, **folders, slots=1, threads_per_run=threads, precision="bf16", device="cpu").run()


def main() -> None:
    """Make the data, train, and write what came out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.science", description="Science checks on phantoms.")
    parser.add_argument("--out", type=Path, required=True, help="folder of science.json, its figures and RESULTS.md")
    parser.add_argument("--work", type=Path, default=Path("runs/science"), help="folder of images and runs")
    parser.add_argument("--threads", type=int, default=1, help="cores to use; default: 1")
    parser.add_argument("--so-far", action="store_true", help="train nothing; write what the finished runs say")
    arguments = parser.parse_args()
    started = time.perf_counter()
    try:
        if not arguments.so_far:
            prepare(arguments.work / "data")
            train_all(arguments.work, threads=arguments.threads)
        found = collect(arguments.work / "runs")
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on")
    command = ["python", "-m", "benchmarks.science", *sys.argv[1:]]
    spent = {"seconds": time.perf_counter() - started, "cpu_seconds": sum(os.times()[:4])}
    environment = describe(command) | {"kind": "science", "threads": arguments.threads, "this_call": spent}
    environment["load_average_after"] = load_average()
    write_results(found, environment, arguments.out)
    print(f"written: {write_page(arguments.out)}", file=sys.stderr)


if __name__ == "__main__":
    main()
