"""A loader and a device come in; network input on that device goes out, the next batch on its way meanwhile.

On CUDA the uint8 pages of batch k + 1 travel on a side stream while batch k is computed; flip, rotation,
normalisation and the three channels are made on the device, just before the network. On the CPU a batch passes
straight through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from types import TracebackType

import torch
from torch import Tensor

from datasets.augment.warp_device import augmented_input
from datasets.loading.stream import Batch, Batches, Loader


@dataclass(frozen=True, eq=False)
class DeviceBatch:
    """One rank's part of one step, ready for the network."""

    targets: Tensor
    """(B, L) uint8 on the device: 0, 1, or 255 ignored."""
    host: Batch
    """The batch as the loader handed it out: targets and indices on the host."""
    make_inputs: Callable[[], Tensor]

    @cached_property
    def inputs(self) -> Tensor:
        """(B, 3, S, S) in channels_last, normalised, on the device; made when they are first asked for."""
        return self.make_inputs()

    @property
    def global_size(self) -> int:
        """Samples of this step over all ranks together."""
        return self.host.global_size


class Feed:
    """Brings a loader's batches to a device, epoch by epoch."""

    def __init__(self, loader: Loader, device: torch.device | str, *, dtype: torch.dtype = torch.float32) -> None:
        self.loader = loader
        self.device = torch.device(device)
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int, start_step: int = 0) -> FeedBatches:
        """The batches of one epoch from ``start_step`` on."""
        return FeedBatches(self, epoch, start_step)


@dataclass(frozen=True)
class _Sent:
    """A batch on its way: its tensors on the device, and the event behind the last copy."""

    host: Batch
    images: Tensor
    targets: Tensor
    indices: Tensor
    arrived: torch.cuda.Event | None


class FeedBatches(AbstractContextManager["FeedBatches"], Iterator[DeviceBatch]):
    """The batches of one epoch; use it in a ``with`` block, or read it to its end."""

    def __init__(self, feed: Feed, epoch: int, start_step: int) -> None:
        self._feed = feed
        self._epoch = epoch
        self._sender = _Sender(feed.device)
        self._batches: Batches = feed.loader.epoch(epoch, start_step)
        self._sent: _Sent | None = None

    def __next__(self) -> DeviceBatch:
        """The next batch; work of the current stream that uses it waits for its copy by itself.

        Raises:
            LoaderFailedError: when reading failed in the background.
        """
        sent = self._sent if self._sent is not None else self._sender.send(self._batches)
        self._sent = None
        self._sender.receive(sent)
        # Only a batch that is there is sent ahead: waiting for one would keep this one from the network.
        if self._sender.runs_ahead and self._batches.ready():
            self._sent = self._sender.send(self._batches)
        return DeviceBatch(sent.targets, sent.host, partial(self._to_input, sent))

    def _to_input(self, sent: _Sent) -> Tensor:
        loader = self._feed.loader
        if sent.images.is_floating_point():
            return sent.images.to(self._feed.dtype)
        return augmented_input(
            sent.images,
            sent.indices,
            seed=loader.plan.seed,
            epoch=self._epoch,
            augment=loader.left_to_device,
            dtype=self._feed.dtype,
        )

    def close(self) -> None:
        """End the epoch and let go of its batches. Harmless when called again; nothing comes afterwards."""
        self._sent = None
        self._batches.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Sender:
    """Copies batches to the device, on a side stream where there is CUDA."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    @property
    def runs_ahead(self) -> bool:
        """Whether a batch can travel while another one is computed."""
        return self._stream is not None

    def send(self, batches: Batches) -> _Sent:
        """Take the next batch and start its copies; a loader that makes it on the device does so in this stream."""
        if self._stream is None:
            host = next(batches)
            return _Sent(host, *self._copies(host), arrived=None)
        with torch.cuda.stream(self._stream):
            host = next(batches)
            copies = self._copies(host)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._stream)
        return _Sent(host, *copies, arrived=arrived)

    def receive(self, sent: _Sent) -> None:
        """Let the current stream wait for the copies, and their memory for the current stream."""
        if sent.arrived is None:
            return
        current = torch.cuda.current_stream(self._device)
        current.wait_event(sent.arrived)
        for tensor in (sent.images, sent.targets, sent.indices):
            # The memory belongs to the side stream, which would write the next batch into it as soon as it is free.
            tensor.record_stream(current)

    def _copies(self, host: Batch) -> tuple[Tensor, Tensor, Tensor]:
        images, targets, indices = (
            tensor.to(self._device, non_blocking=True) for tensor in (host.images, host.targets, host.indices)
        )
        return images, targets, indices
