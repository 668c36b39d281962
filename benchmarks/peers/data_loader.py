"""PyTorch's DataLoader as it is set up for speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.common.pictures import PREFETCH, Pictures


class EndlessBatches(Sampler[list[int]]):
    """Batches of a new random order again and again, so that no epoch ever ends."""

    def __init__(self, num_samples: int, batch_size: int) -> None:
        self.num_samples, self.batch_size = num_samples, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        waiting: list[int] = []
        while True:
            while len(waiting) < self.batch_size:
                waiting += torch.randperm(self.num_samples).tolist()
            yield waiting[: self.batch_size]
            waiting = waiting[self.batch_size :]


def endless(
    dataset: Dataset[Any],
    pictures: Pictures,
    *,
    collate: Callable[[list[Any]], Any] | None = None,
    start_worker: Callable[[int], None] | None = None,
) -> Iterator[int]:
    """Deliver batches with ``pictures.workers`` processes; the batch is the tensor that a training loop would get."""
    loader = DataLoader(
        dataset,
        batch_sampler=EndlessBatches(len(dataset), pictures.batch_size),  # type: ignore[arg-type]
        num_workers=pictures.workers,
        prefetch_factor=PREFETCH,
        collate_fn=collate,
        worker_init_fn=start_worker,
        persistent_workers=True,
    )
    for batch in loader:
        yield len(batch)
