"""The process of one contender: sets it up, says so, and measures one round for each line on standard input.

Run as ``python -m benchmarks.common.worker MODULE FUNCTION PICTURES.json``. Answers are JSON lines on standard
output; what libraries print goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from benchmarks.common.pictures import Pictures
from benchmarks.common.timing import EPOCH_STARTS, measure, measure_next


def main() -> None:
    """Set up, answer ``ready``, then one ``[images, seconds]`` for each line ``{"seconds": ...}``; null: one item."""
    module, function, path = sys.argv[1:4]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    pictures = Pictures.read(Path(path))
    # The workers share these cores with whatever else the contender runs, as they would beside a training loop.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: pictures.workers])
    batches = getattr(importlib.import_module(module), function)(pictures)
    while next(batches) == EPOCH_STARTS:
        pass
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        seconds = json.loads(line)["seconds"]
        counted = (
            measure_next(batches) if seconds is None else measure(batches, seconds=seconds, workers=pictures.workers)
        )
        print(json.dumps(counted), file=answers, flush=True)


if __name__ == "__main__":
    main()
