"""PyTorch's DataLoader as it is set up for speed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.common.pictures import PREFETCH, Pictures


class Files(Dataset[Any]):
    """Image files that ``load`` makes tensors of."""

    def __init__(self, paths: Sequence[str], load: Callable[[str], Tensor]) -> None:
        self.paths, self.load = list(paths), load

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.load(self.paths[index])


def endless_batches(num_samples: int, batch_size: int) -> Iterator[list[int]]:
    """Indices of batches in a new random order again and again, so that no epoch ever ends."""
    waiting: list[int] = []
    while True:
        while len(waiting) < batch_size:
            waiting += torch.randperm(num_samples).tolist()
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def endless(dataset: Dataset[Any], pictures: Pictures, **settings: Any) -> Iterator[Tensor]:
    """Deliver batches with ``pictures.workers`` processes; the batch is the tensor that a training loop would get."""
    sampler = endless_batches(len(dataset), pictures.batch_size)  # type: ignore[arg-type]
    return iter(loader_of(dataset, pictures, batch_sampler=sampler, **settings))


def loader_of(dataset: Dataset[Any], pictures: Pictures, **settings: Any) -> DataLoader[Any]:
    """A DataLoader whose ``pictures.workers`` processes stay from epoch to epoch."""
    stays: dict[str, Any] = {"prefetch_factor": PREFETCH, "persistent_workers": True}
    return DataLoader(dataset, num_workers=pictures.workers, **stays, **settings)


def arrived(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Batches as they arrive: on a GPU each once the one before it is complete.

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
        yield batch
