"""PyTorch's DataLoader as it is set up for speed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.common.pictures import PREFETCH, Pictures


class Files(Dataset[Tensor]):
    """Image files that ``load`` makes tensors of."""

    def __init__(self, paths: Sequence[str], load: Callable[[str], Tensor]) -> None:
        self.paths, self.load = list(paths), load

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.load(self.paths[index])


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


def endless(dataset: Dataset[Any], pictures: Pictures, **settings: Any) -> Iterator[int]:
    """Deliver batches with ``pictures.workers`` processes; the batch is the tensor that a training loop would get."""
    sampler = EndlessBatches(len(dataset), pictures.batch_size)  # type: ignore[arg-type]
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=pictures.workers,
        prefetch_factor=PREFETCH,
        persistent_workers=True,
        **settings,
    )
    return (len(batch) for batch in loader)


def arrived(batches: Iterable[Tensor]) -> Iterator[int]:
    """Sizes of the batches as they arrive: on a GPU each once the one before it is complete.

    A batch that was only asked for is no batch yet. Waiting for each one at once would keep the host from preparing
    the next, as no training loop does, so one is always on its way.
    """
    before: torch.cuda.Event | None = None
    for batch in batches:
        if batch.is_cuda:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(batch.device))
            if before is not None:
                before.synchronize()
            before = event
        yield len(batch)
