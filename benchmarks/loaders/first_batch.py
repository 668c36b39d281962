"""Measure the seconds from the start of a process to its first batch; writes ``first_batch.json``.

``python -m benchmarks.loaders.first_batch BETON FOLDER`` measures a plain script around ``open_tier`` and one
with the collector of ``cxr``, in turns, after one start each with an empty cache of numba's.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common.environment import describe
from benchmarks.common.results import spread
from datasets.beton.reader import Beton
from datasets.errors import InputError
from datasets.files import write_json

COMMAND = ["python", "-m", "benchmarks.loaders.first_batch", "BETON", "FOLDER"]
ROUNDS = 15
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
STARTS = {"script around open_tier": SCRIPT, "the same with the collector of cxr": AS_CXR + SCRIPT}


def seconds_to_first_batch(script: str, beton: Path, cache: Path) -> float:
    """From before the process is started until its first batch is there."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", script, str(beton)]
    started = time.monotonic()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout) - started


def measure(beton: Path, rounds: int = ROUNDS) -> dict[str, object]:
    """Median and spread of each start, and the one with an empty cache.

    Raises:
        InputError: when the beton cannot be used.
    """
    Beton.open(beton).indices("train")
    about = describe(COMMAND)
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        cold = seconds_to_first_batch(SCRIPT, beton, cache)
        found = [
            {title: seconds_to_first_batch(script, beton, cache) for title, script in STARTS.items()}
            for _ in range(rounds)
        ]
    rows = [
        {"start": title, "seconds": statistics.median(values), "spread": spread(values), "rounds": rounds}
        for title in STARTS
        if (values := [one[title] for one in found])
    ]
    rows.append({"start": "script, numba's cache empty", "seconds": cold, "spread": 0.0, "rounds": 1})
    return {"environment": {**about, "kind": "first_batch"}, "rows": rows}


if __name__ == "__main__":
    try:
        write_json(Path(sys.argv[2]) / "first_batch.json", measure(Path(sys.argv[1])))
    except InputError as error:
        sys.exit(f"error: {error}")
