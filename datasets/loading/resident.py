"""Serve batches from pages that are held in memory, on the host or the device.

On a GPU a batch is one gather in its memory. On the CPU the pages go through the same kernels as the stream's, so a
batch is the same to the bit.
"""

from __future__ import annotations

from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from datasets.beton.pages import PageSource
from datasets.beton.reader import Beton
from datasets.loading.balance import samples_of
from datasets.loading.batch import Batch, Batches, Loader
from datasets.loading.batch_writer import BatchWriter
from datasets.loading.epoch_plan import EpochPlan
from datasets.loading.options import LoaderOptions
from datasets.loading.threads import num_loader_threads
from datasets.progress import progress

CHUNK = 256
"""Pages that are read at once while a resident set is loaded."""
SHOWN_BYTES = 1 << 28
"""Loading less than this is over before a progress bar can be read."""


@dataclass(frozen=True, eq=False)
class ResidentPages(PageSource):
    """Pages (N, 1, S, S) uint8 of N samples in ascending order, on one device; to be read on the host."""

    samples: np.ndarray
    """(N,) int64 ascending."""
    images: torch.Tensor

    @cached_property
    def flat(self) -> np.ndarray:
        """All bytes, on the host; read-only, since the kernels are compiled for pages of a file."""
        flat: np.ndarray = self.images.view(-1).numpy()
        flat.flags.writeable = False
        return flat

    def slots(self, samples: np.ndarray) -> np.ndarray:
        """Numbers (B,) int64 of the pages of ``samples`` (B,)."""
        return np.searchsorted(self.samples, samples.astype(np.int64))

    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The bytes of all pages, and where those of ``samples`` begin."""
        return self.flat, self.slots(samples).astype(np.uint64) * np.uint64(self.images.shape[-1] ** 2)


def load_pages(
    beton: Beton, indices: np.ndarray, device: torch.device, *, num_threads: int, checked: bool = True
) -> ResidentPages:
    """Read the pages of ``indices`` once, in the file's order, into memory of ``device``.

    Raises:
        InputError: when the file was cut short, or a page is not as it was written.
        MemoryError: when the device has no room for them.
    """
    samples = np.sort(indices.astype(np.int64))
    shape = (len(samples), 1, beton.image_size, beton.image_size)
    try:
        # numpy asks for huge pages where the system has them, which torch does not by default.
        images = (
            torch.from_numpy(np.empty(shape, dtype=np.uint8))
            if device.type == "cpu"
            else torch.empty(shape, dtype=torch.uint8, device=device)
        )
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        gigabytes = np.prod(shape) / 1e9
        raise MemoryError(
            f"{beton.path}: {gigabytes:.1f} GB of pages do not fit on {device}; use tier raw"
        ) from error
    source = beton.open_pages(checked=checked)
    options = LoaderOptions(batch_size=CHUNK, shuffle=False)
    writer = BatchWriter(beton.image_size, options, num_threads=num_threads, pin_memory=device.type == "cuda")
    shown = images.nbytes >= SHOWN_BYTES
    with progress(f"loading {beton.path.name}", len(samples)) if shown else nullcontext() as advance:
        for first in range(0, len(samples), CHUNK):
            part = images[first : first + CHUNK]
            part.copy_(writer.submit(source, samples[first : first + CHUNK], 0).result(), non_blocking=True)
            if advance is not None:
                advance(len(part))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return ResidentPages(samples, images)


class ResidentLoader(Loader):
    """Yields batches of pages that are in memory already; no background thread, no file.

    With ``options.augment_on`` "device" the pages lie on ``device`` and the augmentation is left to
    ``datasets.loading.prefetch``. Otherwise, if there is something to do to the pixels, they lie in the host's memory
    and the loader's threads do it.
    """

    tier = "resident"

    def __init__(self, beton: Beton, plan: EpochPlan, options: LoaderOptions, device: torch.device) -> None:
        on_device = options.augment is None or options.augment_on == "device"
        super().__init__(plan, device_augment=options.augment if on_device else None)
        num_threads = num_loader_threads(options.num_workers)
        home = device if on_device else torch.device("cpu")
        self.pages = load_pages(beton, plan.indices, home, num_threads=num_threads, checked=options.check_pages)
        self.targets = beton.targets
        self.pin_memory = device.type == "cuda"
        self.writer = BatchWriter(beton.image_size, options, num_threads=num_threads, pin_memory=self.pin_memory)

    def epoch(self, epoch: int, start_step: int = 0) -> ResidentBatches:
        """Return the batches of one epoch from ``start_step`` on."""
        return ResidentBatches(self, epoch, start_step)


class ResidentBatches(Batches):
    """The batches of one epoch, each made when it is asked for."""

    def __init__(self, loader: ResidentLoader, epoch: int, start_step: int) -> None:
        own = [samples for samples in loader.plan.batches(epoch, start_step) if len(samples)]
        self._loader, self._epoch = loader, epoch
        self._steps = deque(zip(own, loader.plan.sizes[start_step:], strict=False))

    def ready(self) -> bool:
        return len(self._steps) > 0

    def close(self) -> None:
        self._steps.clear()

    def __next__(self) -> Batch:
        if not self._steps:
            raise StopIteration
        samples, global_size = self._steps.popleft()
        loader = self._loader
        targets = torch.from_numpy(loader.targets[samples_of(samples)])
        indices = torch.from_numpy(samples.astype(np.int64))
        if loader.pin_memory:
            targets, indices = targets.pin_memory(), indices.pin_memory()
        images = self._gathered(samples) if loader.pages.images.is_cuda else self._written(samples)
        return Batch(images, targets, indices, global_size)

    def _written(self, samples: np.ndarray) -> torch.Tensor:
        pending = self._loader.writer.submit(self._loader.pages, samples, self._epoch)
        try:
            return pending.result()
        finally:
            pending.drain()

    def _gathered(self, samples: np.ndarray) -> torch.Tensor:
        pages = self._loader.pages.images
        slots = (
            torch.from_numpy(self._loader.pages.slots(samples_of(samples)))
            .pin_memory()
            .to(pages.device, non_blocking=True)
        )
        pages.record_stream(torch.cuda.current_stream(pages.device))
        return pages.index_select(0, slots)
