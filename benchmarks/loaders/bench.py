"""``cxr bench loader``: measure every loader in interleaved rounds, and their ratios."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.contenders import LOADER_RATIOS, LOADERS
from benchmarks.common.environment import describe
from benchmarks.common.results import Row, as_json, ratios
from benchmarks.common.rounds import measure_rounds, started
from benchmarks.common.settings import PicturesBench, check_names, check_positive, chosen

NOTE = (
    "Each contender has a process of its own and the same cores and number of workers; all read the same radiographs "
    "from a warm page cache. Contenders of one output run in interleaved rounds, their processes stopped while it is "
    "not their turn; one output follows another. Start-up of process, epoch and queues is left out for all "
    "alike. A batch counts when it is handed over."
)


@dataclass(frozen=True, kw_only=True)
class BenchLoader(PicturesBench):
    """Measure every tier of the loader beside other loaders: same radiographs, same output, same cores, in turns.

    Peers that are not installed are named as absent; benchmarks/setup installs them.

    For example:
        cxr bench loader --images data/pngs --out benchmarks
    """

    rounds: int = 5
    """Times that each is measured."""
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

    def measure(self) -> dict[str, Any]:
        check_names("--only", self.only, [contender.name for contender in LOADERS], "contender")
        check_positive(self, "rounds", "seconds", "samples", "size", "batch_size", "workers")
        from benchmarks.common.prepare import prepare

        contenders = [contender for contender in LOADERS if not self.only or contender.name in self.only]
        environment = describe()
        shape = chosen(self, "samples", "size", "batch_size", "workers")
        with tempfile.TemporaryDirectory(prefix="cxr-bench-") as name:
            folder = Path(name)
            pictures = prepare(self.images, folder, **shape)
            gpu = environment["gpu"] is not None
            absent = {one.name: why for one in contenders if (why := one.missing(pictures, gpu=gpu)) is not None}
            present = [one for one in contenders if one.name not in absent]
            values: dict[str, list[float]] = {}
            reasons = absent
            for output in dict.fromkeys(one.output for one in present):
                group = [one for one in present if one.output == output]
                with started(group, folder / "pictures.json", folder) as (running, failed):
                    values |= measure_rounds(running, failed, rounds=self.rounds, seconds=self.seconds)
                reasons |= failed
            rows = [Row.of(one, values.get(one.name, ()), reasons.get(one.name), pictures) for one in contenders]
        environment |= {"kind": "loader", "note": NOTE, "radiographs": len(pictures.png)}
        environment |= {"made_up": self.images is None, **shape, "seconds": self.seconds}
        return as_json(environment, rows, ratios(rows, LOADER_RATIOS))
