"""``cxr bench first-batch``: measure the seconds from the start of a process to its first batch."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.environment import describe, load_average
from benchmarks.common.results import spread
from benchmarks.common.settings import PicturesBench, check_positive

SCRIPT = """\
import sys, time
from pathlib import Path
from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.loading.options import LoaderOptions
from datasets.loading.prefetch import DevicePrefetcher
from datasets.loading.tiers import open_tier

beton = Beton.open(Path(sys.argv[1]))
options = LoaderOptions(batch_size=32, shuffle=True, augment=Augment(15.0, 0.5), num_workers=2)
loader = open_tier(beton, beton.indices("train"), options, tier=beton.encoding)
with DevicePrefetcher(loader, "cpu").epoch(0) as batches:
    next(batches)
    print(time.monotonic())
"""
AS_CXR = "import gc\nfrom launch.cli.__main__ import COLLECT_AFTER\ngc.set_threshold(*COLLECT_AFTER)\n"
COLD = "script, numba's cache empty"
STARTS = {"script around open_tier": SCRIPT, "the same with the collector of cxr": AS_CXR + SCRIPT}


def seconds_to_first_batch(script: str, beton: Path, cache: Path) -> float:
    """From before the process is started until its first batch is there."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", script, str(beton)]
    started = time.monotonic()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout) - started


@dataclass(frozen=True, kw_only=True)
class BenchFirstBatch(PicturesBench):
    """Measure a plain script around ``open_tier`` and one with the collector of ``cxr``, from start to first batch.

    In turns, after one start of the first with an empty cache of numba's. About two minutes on two cores.

    For example:
        cxr bench first-batch --out benchmarks
    """

    rounds: int = 15
    """Times that each is measured."""
    samples: int = 512
    """Samples of the beton; the radiographs are repeated up to this number."""
    size: int = 256
    """Side of the images in pixels, a multiple of 32."""

    def measure(self) -> dict[str, Any]:
        check_positive(self, "rounds", "samples", "size")
        from benchmarks.common.prepare import prepare

        about = {"kind": "first_batch", **describe()}
        with tempfile.TemporaryDirectory(prefix="cxr-bench-") as name:
            folder, cache = Path(name), Path(name) / "numba"
            shape = {"samples": self.samples, "size": self.size}
            beton = Path(prepare(self.images, folder, **shape, batch_size=32, workers=2).beton)
            cold = seconds_to_first_batch(SCRIPT, beton, cache)
            found = [
                {title: seconds_to_first_batch(script, beton, cache) for title, script in STARTS.items()}
                for _ in range(self.rounds)
            ]
        rows = [_row(title, [one[title] for one in found]) for title in STARTS]
        return {"environment": {**about, "load_average_after": load_average()}, "rows": [*rows, _row(COLD, [cold])]}


def _row(title: str, values: Sequence[float]) -> dict[str, Any]:
    middle = {"seconds": statistics.median(values), "spread": spread(values), "rounds": len(values)}
    return {"start": title, **middle}
