"""The process of one contender that reads files from their disk.

Run as ``python -m benchmarks.scaling.cold MODULE OPTIONS WARM_UP.json``; each line ``{"pictures": PICTURES.json}`` is
answered with what an epoch of these took, first from the disk, then from the cache, and with the disk's rate just
before. Only a process that has not mapped the files can have them dropped from the cache, so it answers once.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.common.pictures import Pictures
from benchmarks.common.process import answer_questions
from benchmarks.common.timing import EPOCH_STARTS
from benchmarks.scaling.disk import bytes_from_disks, drop_from_cache, sequential_rate


def set_up(warm_up: Pictures) -> Callable[[Any], Any]:
    """Load the contender's libraries and kernels on other pictures; return what measures."""
    module, options = importlib.import_module(sys.argv[1]), json.loads(sys.argv[2])
    one_epoch(module.batches(warm_up, **options), 2 * warm_up.batch_size)

    def answer(asked: Any) -> dict[str, Any]:
        pictures = Pictures.read(Path(asked["pictures"]))
        disk = sequential_rate(Path(pictures.beton))
        for path in Path(pictures.folder).iterdir():
            if path.is_file():
                drop_from_cache(path)
        batches, images, before = module.batches(pictures, **options), len(pictures.jpeg), bytes_from_disks()
        cold_s = one_epoch(batches, images)
        read = bytes_from_disks() - before
        warm_s = one_epoch(batches, images)
        return {
            "images": images,
            "cold_s": cold_s,
            "warm_s": warm_s,
            "read_bytes": read,
            "disk_bytes_per_s": disk.per_s,
            "disk_by": disk.by,
        }

    return answer


def one_epoch(batches: Iterator[Any], images: int) -> float:
    """Seconds until so many images are there, from the start of the epoch."""
    started, come = time.perf_counter(), 0
    while come < images:
        batch = next(batches)
        if batch is not EPOCH_STARTS:
            come += len(batch)
        elif come == 0:  # what stands before the first one is opening the files
            started = time.perf_counter()
    return time.perf_counter() - started


if __name__ == "__main__":
    answer_questions(Path(sys.argv[3]), set_up)
