"""A beton and chosen samples come in; their pages, held once in memory, go out as batches by index.

On a GPU a batch is one gather in its memory, and the host does nothing but count. On the CPU the pages are mirrored
and rotated by the same kernel as the stream's, so a batch is the same to the bit.
"""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch

from datasets.augment.counter_rng import Purpose, stream_key
from datasets.augment.policy import Augment
from datasets.beton.reader import Beton
from datasets.kernels.batch_memory import BatchMemory
from datasets.kernels.threads import num_loader_threads
from datasets.loading.epoch_plan import EpochPlan
from datasets.loading.page_source import open_pages
from datasets.loading.stream import Batch, Batches, Loader
from datasets.progress import Advance, progress

CHUNK = 256
"""Pages that are read at once while a resident set is loaded."""
BYTES_AT_ONCE = 4 << 20
"""Small batches are copied together on a CPU, up to so many bytes: with fewer the threads would rather wait for each
other than copy, and the memory of more would not stay in a cache until it is used again."""
SHOWN_BYTES = 1 << 28
"""Loading less than this is over before a progress bar can be read."""


@dataclass(frozen=True, eq=False)
class ResidentPages:
    """Pages (N, 1, S, S) uint8 of N samples in ascending order, on one device."""

    samples: np.ndarray
    """(N,) int64 ascending."""
    images: torch.Tensor

    @cached_property
    def flat(self) -> np.ndarray:
        """All bytes, on the host; read-only, since the kernels are compiled for pages of a file."""
        flat: np.ndarray = self.images.view(-1).numpy()
        flat.flags.writeable = False
        return flat

    @cached_property
    def page_shape(self) -> tuple[int, ...]:
        """(1, S, S)."""
        return tuple(self.images.shape[1:])

    @cached_property
    def page_bytes(self) -> int:
        """Bytes of one page."""
        return int(self.images[0].nbytes)

    def places(self, samples: np.ndarray) -> np.ndarray:
        """Where the pages of ``samples`` (B,) lie: (B,) int64 addresses on the host, numbers of pages on a device."""
        slots = np.searchsorted(self.samples, samples.astype(np.int64))
        return slots if self.images.is_cuda else slots * self.page_bytes + self.images.data_ptr()


def load_pages(beton: Beton, indices: np.ndarray, device: torch.device, *, num_threads: int) -> ResidentPages:
    """Read the pages of ``indices`` once, in the file's order, into memory of ``device``.

    Raises:
        InputError: when the file was cut short.
        MemoryError: when the device has no room for them.
    """
    samples = np.sort(indices.astype(np.int64))
    shape = (len(samples), 1, beton.image_size, beton.image_size)
    on_host = device.type == "cpu"
    try:
        images = BatchMemory(pin_memory=False).take(shape) if on_host else _empty_on(device, shape)
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        gigabytes = np.prod(shape) / 1e9
        raise MemoryError(
            f"{beton.path}: {gigabytes:.1f} GB of pages do not fit on {device}; use tier raw"
        ) from error
    source = open_pages(beton, num_threads)
    staging = None if on_host else BatchMemory(pin_memory=True)
    shown = progress(f"loading {beton.path.name}", len(samples)) if images.nbytes >= SHOWN_BYTES else _silent()
    with shown as advance:
        for first in range(0, len(samples), CHUNK):
            part = images[first : first + CHUNK]
            host = part if staging is None else staging.take(tuple(part.shape))
            source.read(samples[first : first + CHUNK], host.numpy())
            if staging is not None:
                part.copy_(host, non_blocking=True)
            advance(len(part))
    if not on_host:
        torch.cuda.synchronize(device)
    return ResidentPages(samples, images)


def _silent() -> AbstractContextManager[Advance]:
    return nullcontext(lambda *_, **__: None)


def _empty_on(device: torch.device, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.uint8, device=device)


class ResidentLoader(Loader):
    """Hands out batches of pages that are in memory already; no thread, no file.

    With ``augment_on`` "cpu" the pages lie in the host's memory and the calling thread augments them with
    ``num_workers`` threads; with "device" they lie on ``device`` and the augmentation is left to
    ``datasets.loading.feed``.
    """

    tier = "resident"

    def __init__(
        self,
        beton: Beton,
        plan: EpochPlan,
        *,
        augment: Augment | None,
        augment_on: Literal["cpu", "device"] = "cpu",
        device: torch.device,
        num_workers: int | None = None,
    ) -> None:
        on_device = augment is None or augment_on == "device"
        super().__init__(plan, left_to_device=augment if on_device else None)
        self.augment = None if on_device else augment
        self.num_threads = num_loader_threads(num_workers)
        home = device if on_device else torch.device("cpu")
        self.pages = load_pages(beton, plan.indices, home, num_threads=self.num_threads)
        self.targets = beton.targets
        self.memory = BatchMemory(pin_memory=device.type == "cuda")

    def epoch(self, epoch: int, start_step: int = 0) -> ResidentBatches:
        """The batches of one epoch from ``start_step`` on."""
        return ResidentBatches(self, epoch, start_step)


class _Step(NamedTuple):
    """One batch to be made."""

    shape: tuple[int, ...]
    """(B, 1, S, S)."""
    samples: np.ndarray
    """(B,) uint64."""
    places: np.ndarray
    """(B,) int64: the address of each page in the host's memory, or its number in the device's."""
    targets: torch.Tensor
    indices: torch.Tensor
    global_size: int


class ResidentBatches(Batches):
    """The batches of one epoch, each made when it is asked for."""

    def __init__(self, loader: ResidentLoader, epoch: int, start_step: int) -> None:
        from datasets.kernels.shared_copy import crew_of

        own = [samples for samples in loader.plan.batches(epoch, start_step) if len(samples)]
        # Whatever can be done for the epoch at once is: on a CPU a batch is copied in less time than numpy needs to
        # look its labels up.
        samples = np.concatenate([np.empty(0, np.uint64), *own])
        ends = np.cumsum([len(part) for part in own])[:-1]
        parts = (
            [(len(part), *loader.pages.page_shape) for part in own],
            own,
            np.split(loader.pages.places(samples), ends),
            map(torch.from_numpy, np.split(loader.targets[samples], ends)),
            map(torch.from_numpy, np.split(samples.astype(np.int64), ends)),
            loader.plan.sizes[start_step:],
        )
        self._loader = loader
        self._steps = deque(_Step(*values) for values in zip(*parts, strict=False))
        self._made: deque[Batch] = deque()
        self._take, self._pin_memory = loader.memory.take, loader.memory.pin_memory
        self._page_bytes = loader.pages.page_bytes
        self._crew_of, self._num_threads = crew_of, loader.num_threads
        batch_bytes = loader.plan.share * self._page_bytes
        copies = not loader.pages.images.is_cuda and loader.augment is None
        self._at_once = max(1, BYTES_AT_ONCE // max(1, batch_bytes)) if copies else 0
        self._key = np.uint64(stream_key(loader.plan.seed, epoch, Purpose.AUGMENTATION))

    def ready(self) -> bool:
        return len(self._made) + len(self._steps) > 0

    def close(self) -> None:
        self._steps.clear()
        self._made.clear()

    def __next__(self) -> Batch:
        # A copy drives all that follows out of the core's cache, so every line of it counts.
        if self._made:
            return self._made.popleft()
        if not self._steps:
            raise StopIteration
        if self._at_once > 1:
            return self._one_of_several()
        step = self._steps.popleft()
        if not self._at_once:
            return self._batch(step, self._worked_on(step))
        images = self._take(step.shape)
        self._crew_of(self._num_threads).copy(step.places, images.data_ptr(), self._page_bytes)
        return Batch(images, step.targets, step.indices, step.global_size)

    def _one_of_several(self) -> Batch:
        """The first of as many small batches as are copied at once; they share their memory."""
        steps = [self._steps.popleft() for _ in range(min(self._at_once, len(self._steps)))]
        places, ends = np.concatenate([step.places for step in steps]), np.cumsum([step.shape[0] for step in steps])
        images = self._take((len(places), *steps[0].shape[1:]))
        self._crew_of(self._num_threads).copy(places, images.data_ptr(), self._page_bytes)
        self._made.extend(map(self._batch, steps, images.tensor_split(torch.from_numpy(ends[:-1]))))
        return self._made.popleft()

    def _batch(self, step: _Step, images: torch.Tensor) -> Batch:
        targets, indices = step.targets, step.indices
        if self._pin_memory:
            targets, indices = targets.pin_memory(), indices.pin_memory()
        return Batch(images, targets, indices, step.global_size)

    def _worked_on(self, step: _Step) -> torch.Tensor:
        """What takes more than a copy: gathered on the device, or augmented on the host."""
        pages = self._loader.pages
        if pages.images.is_cuda:
            places = torch.from_numpy(step.places).pin_memory().to(pages.images.device, non_blocking=True)
            pages.images.record_stream(torch.cuda.current_stream(pages.images.device))
            return pages.images.index_select(0, places)
        from datasets.loading.page_ops import begin_to_warp

        augment = self._loader.augment
        assert augment is not None, "pages as they are get copied"
        images = self._take(step.shape)
        offsets = (step.places - pages.images.data_ptr()).astype(np.uint64)
        arguments = (pages.flat, offsets, step.samples, images, self._key, augment)
        begin_to_warp(*arguments, num_threads=self._num_threads).finish()
        return images
