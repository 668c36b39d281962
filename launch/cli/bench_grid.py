"""``cxr bench grid``: numbers of runs come in; seconds of plan, status and submit over such grids go out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class BenchGrid:
    """Measure whole commands over grids of many runs: plan, status, and a submit against a recorded sbatch.

    Example: cxr bench grid --json grid.json --sizes 200 2000 20000
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
        import importlib.util

        from datasets.errors import InputError
        from datasets.files import write_json

        if importlib.util.find_spec("benchmarks") is None:
            raise InputError("benchmarks are not installed here; run this from a checkout of the repository")
        from benchmarks.grids.bench import COMMANDS, Settings, bench_grid, table

        settings = Settings(sizes=self.sizes, rounds=self.rounds, commands=self.only or COMMANDS)
        measured = bench_grid(settings)
        print(table(measured))
        if self.json is not None:
            write_json(self.json, measured)
            print(f"written: {self.json}", file=sys.stderr)
