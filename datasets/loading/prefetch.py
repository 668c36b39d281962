"""Bring batches to a device as network input, the next one on its way while one is computed.

On CUDA the uint8 pages of batch k + 1 travel on a side stream while batch k is computed; flip, rotation,
normalisation and the three channels are made on the device, just before the network. On the CPU batches come from
the loader as network input already.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial

import torch
from torch import Tensor

from datasets.augment.warp_device import augmented_input
from datasets.loading.batch import Batch, Batches, Loader


@dataclass(frozen=True, eq=False)
class DeviceBatch:
    """One rank's part of one step, ready for the network."""

    host: Batch
    """The batch as the loader made it: targets and indices on the host."""
    images: Tensor
    targets: Tensor
    """(B, L) uint8 on the device: 0, 1, or 255 ignored."""
    indices: Tensor
    arrived: torch.cuda.Event | None
    """Behind the copies to a GPU."""
    to_input: Callable[[DeviceBatch], Tensor]

    @cached_property
    def inputs(self) -> Tensor:
        """(B, 3, S, S) in channels_last, normalised, on the device; made when they are first asked for."""
        return self.to_input(self)

    @property
    def global_size(self) -> int:
        """Samples of this step over all ranks together."""
        return self.host.global_size


@cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream on which batches travel to a GPU: one for the process, whose blocks of memory are used again."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class DevicePrefetcher:
    """Network input on ``device`` in ``dtype`` from the batches of a loader, epoch by epoch."""

    def __init__(self, loader: Loader, device: torch.device | str, *, dtype: torch.dtype = torch.float32) -> None:
        self.loader = loader
        self.device = torch.device(device)
        self.dtype = dtype
        self.runs_ahead = self.device.type == "cuda"
        """Whether a batch can travel while another one is computed."""
        self.stream = side_stream(self.device) if self.runs_ahead else None

    def __len__(self) -> int:
        return len(self.loader)

    @contextmanager
    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Iterator[DeviceBatch]]:
        """Iterate over the batches of one epoch from ``start_step`` on, within a ``with`` block.

        Raises:
            LoaderFailedError: from the iterator, when reading failed in the background.
        """
        with self.loader.epoch(epoch, start_step) as batches:
            prefetched = self._prefetched(batches, epoch)
            try:
                yield prefetched
            finally:
                prefetched.close()

    def _prefetched(self, batches: Batches, epoch: int) -> Generator[DeviceBatch, None, None]:
        sent = self._send(batches, epoch)
        while sent is not None:
            self._receive(sent)
            # Only a batch that is there is sent ahead: waiting for one would keep this one from the network.
            ahead = self._send(batches, epoch) if self.runs_ahead and batches.ready() else None
            yield sent
            sent = ahead if ahead is not None else self._send(batches, epoch)

    def _send(self, batches: Batches, epoch: int) -> DeviceBatch | None:
        """Take the next batch and start its copies; a loader that makes it on the device does so in this stream."""
        with torch.cuda.stream(self.stream):  # does nothing for None
            host = next(batches, None)
            if host is None:
                return None
            images, targets, indices = (
                tensor.to(self.device, non_blocking=True) for tensor in (host.images, host.targets, host.indices)
            )
            arrived = None if self.stream is None else self.stream.record_event()
        return DeviceBatch(host, images, targets, indices, arrived, partial(self._to_input, epoch))

    def _receive(self, sent: DeviceBatch) -> None:
        """Let the current stream wait for the copies, and their memory for the current stream."""
        if sent.arrived is None:
            return
        current = torch.cuda.current_stream(self.device)
        current.wait_event(sent.arrived)
        for tensor in (sent.images, sent.targets, sent.indices):
            # The memory belongs to the side stream, which would write the next batch into it as soon as it is free.
            tensor.record_stream(current)

    def _to_input(self, epoch: int, sent: DeviceBatch) -> Tensor:
        if sent.images.is_floating_point():
            return sent.images.to(self.dtype)
        seed, augment = self.loader.plan.options.seed, self.loader.device_augment
        return augmented_input(sent.images, sent.indices, seed=seed, epoch=epoch, augment=augment, dtype=self.dtype)
