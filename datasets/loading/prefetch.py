"""Bring batches to a device as network input, the next one on its way while one is computed.

On CUDA the uint8 pages of batch k + 1 travel on a side stream while batch k is computed; flip, rotation,
normalisation and the three channels are made on the device, just before the network. On the CPU batches come from
the loader as network input already.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from datasets.augment.warp_device import augmented_input
from datasets.loading.batch import Batch, Batches, Loader


@dataclass(frozen=True, eq=False)
class DeviceBatch:
    """One rank's part of one step, ready for the network."""

    targets: Tensor
    """(B, L) uint8 on the device: 0, 1, or 255 ignored."""
    host: Batch
    """The batch as the loader made it: targets and indices on the host."""
    make_inputs: Callable[[], Tensor]

    @cached_property
    def inputs(self) -> Tensor:
        """(B, 3, S, S) in channels_last, normalised, on the device; made when they are first asked for."""
        return self.make_inputs()

    @property
    def global_size(self) -> int:
        """Samples of this step over all ranks together."""
        return self.host.global_size


@dataclass(frozen=True)
class _Sent:
    """A batch on its way: its tensors on the device, and the event behind the last copy."""

    host: Batch
    images: Tensor
    targets: Tensor
    indices: Tensor
    arrived: torch.cuda.Event | None


class DevicePrefetcher:
    """Network input on ``device`` in ``dtype`` from the batches of a loader, epoch by epoch."""

    def __init__(self, loader: Loader, device: torch.device | str, *, dtype: torch.dtype = torch.float32) -> None:
        self.loader = loader
        self.device = torch.device(device)
        self.dtype = dtype
        self.runs_ahead = self.device.type == "cuda"
        """Whether a batch can travel while another one is computed."""

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
        stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        sent = self._send(batches, stream)
        while sent is not None:
            self._receive(sent)
            # Only a batch that is there is sent ahead: waiting for one would keep this one from the network.
            ahead = self._send(batches, stream) if self.runs_ahead and batches.ready() else None
            yield DeviceBatch(sent.targets, sent.host, partial(self._to_input, sent, epoch))
            sent = ahead if ahead is not None else self._send(batches, stream)

    def _send(self, batches: Batches, stream: torch.cuda.Stream | None) -> _Sent | None:
        """Take the next batch and start its copies; a loader that makes it on the device does so in this stream."""
        with torch.cuda.stream(stream):  # does nothing for None
            host = next(batches, None)
            if host is None:
                return None
            images, targets, indices = (
                tensor.to(self.device, non_blocking=True) for tensor in (host.images, host.targets, host.indices)
            )
            arrived = None if stream is None else stream.record_event()
        return _Sent(host, images, targets, indices, arrived)

    def _receive(self, sent: _Sent) -> None:
        """Let the current stream wait for the copies, and their memory for the current stream."""
        if sent.arrived is None:
            return
        current = torch.cuda.current_stream(self.device)
        current.wait_event(sent.arrived)
        for tensor in (sent.images, sent.targets, sent.indices):
            # The memory belongs to the side stream, which would write the next batch into it as soon as it is free.
            tensor.record_stream(current)

    def _to_input(self, sent: _Sent, epoch: int) -> Tensor:
        if sent.images.is_floating_point():
            return sent.images.to(self.dtype)
        loader = self.loader
        return augmented_input(
            sent.images,
            sent.indices,
            seed=loader.plan.seed,
            epoch=epoch,
            augment=loader.device_augment,
            dtype=self.dtype,
        )
