"""Batches of a beton: an opened file, sample indices and an epoch come in, uint8 images with targets go out."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from datasets.augment.policy import Augment
from datasets.kernels.start_up import without_collections
from datasets.kernels.threads import num_loader_threads
from datasets.loading.epoch_plan import EpochPlan

if TYPE_CHECKING:
    from datasets.beton.reader import Beton
    from datasets.loading.ffcv.iterator import SafeEpochIterator

Output = Literal["uint8", "float32"]


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's part of one step. The tensors are the holder's own: no later batch is written over them."""

    images: torch.Tensor
    """(B, 1, S, S) uint8, or (B, 3, S, S) float32 in channels_last; page-locked where there is CUDA."""
    targets: torch.Tensor
    """(B, L) uint8: 0 negative, 1 positive, 255 ignored."""
    indices: torch.Tensor
    """(B,) int64 sample indices."""
    global_size: int
    """Samples of this step over all ranks together."""


class Batches(AbstractContextManager["Batches"], Iterator[Batch]):
    """The batches of one epoch, of any tier. Use it in a ``with`` block, or read it to its end."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether there is a next batch that can be had without waiting."""

    @abstractmethod
    def close(self) -> None:
        """Let go of all that the epoch holds. Harmless when called again; nothing comes afterwards."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Loader(ABC):
    """Hands out chosen samples of a beton epoch by epoch, as one of several ranks: what all tiers have in common.

    Samples, their order and, before augmentation, their pixels follow from the plan alone.
    """

    tier: str
    """raw, jpeg or resident."""

    def __init__(self, plan: EpochPlan, *, left_to_device: Augment | None = None) -> None:
        self.plan = plan
        self.left_to_device = left_to_device
        """The augmentation that the batches still lack and ``datasets.loading.feed`` does on the device."""

    def __len__(self) -> int:
        """Steps of an epoch; in evaluation a rank may have no part in the last one and then hands out one less."""
        return len(self.plan.sizes)

    @property
    def indices(self) -> np.ndarray:
        """The chosen samples (N,) uint64."""
        return self.plan.indices

    @abstractmethod
    def epoch(self, epoch: int, start_step: int = 0) -> Batches:
        """The batches of one epoch from ``start_step`` on."""


class BatchIterator(Batches):
    """The batches of one epoch, read in the background; dropping it closes it, too."""

    def __init__(self, producer: SafeEpochIterator, sizes: list[int], finish: Callable[[Any], torch.Tensor]) -> None:
        self._producer = producer
        self._sizes = iter(sizes)
        self._finish = finish
        # The thread refers to the producer only, so this object dies with its last holder and then ends the thread.
        self._finalizer = weakref.finalize(self, producer.close)

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            LoaderFailedError: when reading failed in the background.
        """
        images, targets, indices = next(self._producer)
        return Batch(self._finish(images), targets, indices, next(self._sizes))

    def ready(self) -> bool:
        return self._producer.ready()

    def close(self) -> None:
        """End the background thread and let go of waiting batches. Harmless when called again."""
        self._finalizer()


class BetonLoader(Loader):
    """Streams chosen samples of a beton, raw or JPEG, from its file, as one of ``world_size`` ranks.

    ``batch_size`` counts the images of one step over all ranks. Pixels, order and global batches are functions of
    seed and epoch alone, whatever the number of threads or ranks. With ``augment`` None images come as stored.
    ``output`` "float32" hands out network input as ``to_network_input`` makes it, for a CPU that runs the network.
    With ``augment_on`` "device" pages come as stored and ``augment`` is left to ``datasets.loading.feed``.
    ``decode_on`` is a device that decodes JPEG pages, when the batch is asked for, instead of the loader's threads.

    Raises:
        InputError: for indices outside the file, listed twice or none at all, and for a batch smaller than the ranks.
    """

    def __init__(
        self,
        beton: Beton,
        indices: np.ndarray,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool,
        augment: Augment | None,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int | None = None,
        output: Output = "uint8",
        augment_on: Literal["cpu", "device"] = "cpu",
        pin_memory: bool | None = None,
        decode_on: torch.device | None = None,
    ) -> None:
        plan = EpochPlan.make(
            indices,
            beton.num_samples,
            str(beton.path),
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            rank=rank,
            world_size=world_size,
        )
        super().__init__(plan, left_to_device=augment if augment_on == "device" else None)
        with without_collections():
            from datasets.loading.ffcv.open_stream import open_stream

        self.tier = beton.encoding
        self._decode_on, self._image_size = decode_on, beton.image_size
        self._stream = open_stream(
            beton,
            batch_size=plan.share,
            num_workers=num_loader_threads(num_workers),
            augment=augment if augment_on == "cpu" else None,
            seed=seed,
            output=output,
            pin=torch.cuda.is_available() if pin_memory is None else pin_memory,
            encoded=decode_on is not None,
        )

    def epoch(self, epoch: int, start_step: int = 0) -> BatchIterator:
        """The batches of one epoch from ``start_step`` on, decoded in the background from now on."""
        from datasets.loading.ffcv.iterator import SafeEpochIterator

        own = np.concatenate([np.empty(0, np.uint64), *self.plan.batches(epoch, start_step)])
        producer = SafeEpochIterator(self._stream, own, epoch)
        return BatchIterator(producer, self.plan.sizes[start_step:], self._decode_encoded)

    def _decode_encoded(self, images: Any) -> torch.Tensor:
        """The images of a batch; made here of their JPEGs where a device decodes them."""
        if self._decode_on is None:
            pages: torch.Tensor = images
            return pages
        from datasets.loading.device_jpeg import decode_on_device

        return decode_on_device(images, self._image_size, self._decode_on)


def train_loader(
    beton: Beton,
    indices: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    rotation_deg: float,
    flip_probability: float,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int | None = None,
) -> BetonLoader:
    """Training: a new order and new flips and rotations each epoch; all ranks take part in every step."""
    return BetonLoader(
        beton,
        indices,
        batch_size=batch_size,
        seed=seed,
        shuffle=True,
        augment=Augment(rotation_deg, flip_probability),
        rank=rank,
        world_size=world_size,
        num_workers=num_workers,
    )


def eval_loader(
    beton: Beton,
    indices: np.ndarray,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int | None = None,
) -> BetonLoader:
    """Evaluation: the given order, images as stored, each sample once over all ranks, nothing padded."""
    return BetonLoader(
        beton,
        indices,
        batch_size=batch_size,
        shuffle=False,
        augment=None,
        rank=rank,
        world_size=world_size,
        num_workers=num_workers,
    )
