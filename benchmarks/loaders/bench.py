"""Measure every loader in interleaved rounds, and their ratios."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.contenders import LOADER_RATIOS, LOADERS, Contender
from benchmarks.common.environment import command_line, describe
from benchmarks.common.prepare import prepare
from benchmarks.common.results import Row, as_json, make_row, ratios
from benchmarks.common.rounds import measure_rounds, started
from datasets.errors import InputError

NOTE = (
    "Each contender has a process of its own and the same cores and number of workers; all read the same radiographs "
    "from a warm page cache. Rounds are interleaved, and a contender's processes are stopped while it is not its "
    "turn. Start-up of process, epoch and queues is left out for all alike. A batch counts when it is handed over."
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured, and for how long."""

    rounds: int = 5
    seconds: float = 3.0
    """At least, for each contender and round."""
    samples: int = 8192
    size: int = 256
    batch_size: int = 64
    workers: int = 2
    only: tuple[str, ...] = ()
    """Names of contenders; all of them if empty."""

    def __post_init__(self) -> None:
        known = [contender.name for contender in LOADERS]
        unknown = [name for name in self.only if name not in known]
        if unknown:
            raise InputError(f"--only {unknown[0]}: no such contender; known: {', '.join(known)}")
        if min(self.rounds, self.seconds, self.samples, self.size, self.batch_size, self.workers) <= 0:
            raise InputError("--rounds, --seconds, --samples, --size, --batch-size and --workers must be above 0")

    @property
    def contenders(self) -> Sequence[Contender]:
        return [contender for contender in LOADERS if not self.only or contender.name in self.only]


def bench_loader(images: Path | None, settings: Settings) -> dict[str, Any]:
    """Measure and return the object of ``cxr bench loader --json``.

    Raises:
        InputError: if there is no PNG below ``images``.
        ContenderError: if a contender ends in the middle of a round.
    """
    environment = describe(command_line())
    with tempfile.TemporaryDirectory(prefix="cxr-bench-") as name:
        folder = Path(name)
        pictures = prepare(
            images,
            folder,
            samples=settings.samples,
            size=settings.size,
            batch_size=settings.batch_size,
            workers=settings.workers,
        )
        pictures.write(folder / "pictures.json")
        gpu = environment["gpu"] is not None
        absent = {one.name: one.missing(pictures, gpu=gpu) for one in settings.contenders}
        present = [one for one in settings.contenders if absent[one.name] is None]
        with started(present, folder / "pictures.json", folder) as (running, failed):
            values = measure_rounds(running, rounds=settings.rounds, seconds=settings.seconds)
    rows = [
        _row(one, values.get(one.name, []), failed.get(one.name) or absent[one.name]) for one in settings.contenders
    ]
    environment |= {
        "kind": "loader",
        "note": NOTE,
        "radiographs": len(pictures.png),
        "made_up": images is None,
        "samples": settings.samples,
        "size": settings.size,
        "batch_size": settings.batch_size,
        "workers": settings.workers,
        "seconds": settings.seconds,
        "load_average_after": round(os.getloadavg()[0], 2),
    }
    return as_json(environment, rows, ratios(rows, LOADER_RATIOS))


def _row(contender: Contender, values: Sequence[float], absent: str | None) -> Row:
    return make_row(
        contender.name, contender.title, contender.output, ours=contender.ours, values=values, absent=absent
    )
