"""Grain: JPEGs in an ArrayRecord file, shuffled globally, read by threads or processes; OpenCV does the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from benchmarks.common.pictures import PREFETCH, Pictures
from benchmarks.common.pixels import float_sample, start_worker


def batches(pictures: Pictures, *, by: Literal["threads", "processes"]) -> Iterator[Any]:
    """Float batches (B, 3, S, S), again and again."""
    start_worker()
    path = str(Path(pictures.folder) / f"grain-{by}.array_record")
    writer = ArrayRecordWriter(path, "group_size:1")  # as Grain asks for where access is random
    for name in pictures.jpeg:
        writer.write(Path(name).read_bytes())
    writer.close()

    def load(data: bytes) -> np.ndarray:
        return float_sample(np.frombuffer(data, dtype=np.uint8), pictures).numpy()

    records = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(path)).seed(0).shuffle().repeat()
    made = records.map(load).batch(pictures.batch_size)
    if by == "threads":
        waiting = pictures.workers * PREFETCH
        return iter(made.to_iter_dataset(grain.ReadOptions(pictures.workers, waiting)))
    # Left to itself each process makes 500 batches ahead, 25 GB of them.
    each = made.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=PREFETCH))
    return iter(each.mp_prefetch(grain.MultiprocessingOptions(pictures.workers, PREFETCH)))
