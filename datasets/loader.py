"""Batches of a beton: an opened file, sample indices and an epoch come in, uint8 images with targets go out."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import torch

from datasets.augment import Augment
from datasets.errors import InputError
from datasets.order import checked_indices, epoch_order, global_sizes, rank_batches, share_size
from datasets.threads import num_loader_threads

if TYPE_CHECKING:
    from datasets.beton import Beton
    from datasets.ffcv_stream import StreamLoader
    from datasets.safe_iterator import SafeEpochIterator


@dataclass(frozen=True)
class Batch:
    """One rank's part of one step. The tensors are the holder's own: no later batch is written over them."""

    images: torch.Tensor
    """(B, 1, S, S) uint8; page-locked where there is CUDA."""
    targets: torch.Tensor
    """(B, L) uint8: 0 negative, 1 positive, 255 ignored."""
    indices: torch.Tensor
    """(B,) int64 sample indices."""
    global_size: int
    """Samples of this step over all ranks together."""


class BatchIterator:
    """The batches of one epoch. Use it in a ``with`` block, or read it to its end; dropping it closes it, too."""

    def __init__(self, producer: SafeEpochIterator, sizes: list[int]) -> None:
        self._producer = producer
        self._sizes = iter(sizes)
        # The thread refers to the producer only, so this object dies with its last holder and then ends the thread.
        self._finalizer = weakref.finalize(self, producer.close)

    def __iter__(self) -> BatchIterator:
        return self

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            LoaderFailedError: when reading failed in the background.
        """
        images, targets, indices = next(self._producer)
        return Batch(images, targets, indices, next(self._sizes))

    def close(self) -> None:
        """End the background thread and let go of waiting batches. Harmless when called again."""
        self._finalizer()

    def __enter__(self) -> BatchIterator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class BetonLoader:
    """Reads chosen samples of a beton epoch by epoch, as one of ``world_size`` ranks.

    ``batch_size`` counts the images of one step over all ranks. Pixels, order and global batches are functions of
    seed and epoch alone, whatever the number of threads or ranks. With ``augment`` None images come as stored.

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
    ) -> None:
        if not 0 <= rank < world_size:
            raise InputError(f"rank {rank} of {world_size} processes: must lie in 0..{world_size - 1}")
        self.indices = checked_indices(indices, beton.sidecar.num_samples, str(beton.path))
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.rank, self.world_size = rank, world_size
        self._sizes = global_sizes(len(self.indices), batch_size, world_size, training=shuffle)
        self._stream = _open_stream(
            beton,
            batch_size=share_size(batch_size, rank, world_size),
            num_workers=num_loader_threads(num_workers),
            augment=augment,
            seed=seed,
        )

    def __len__(self) -> int:
        """Steps of an epoch; in evaluation a rank may have no part in the last one and then hands out one less."""
        return len(self._sizes)

    def epoch(self, epoch: int, start_step: int = 0) -> BatchIterator:
        """The batches of one epoch from ``start_step`` on, decoded in the background from now on."""
        from datasets.safe_iterator import SafeEpochIterator

        if not 0 <= start_step <= len(self):
            raise InputError(f"start_step = {start_step}: the epoch has steps 0..{len(self) - 1}")
        order = epoch_order(self.indices, self.seed, epoch) if self.shuffle else self.indices
        batches = rank_batches(order, self.batch_size, self.rank, self.world_size, training=self.shuffle)[start_step:]
        own = np.concatenate([np.empty(0, np.uint64), *batches])
        return BatchIterator(SafeEpochIterator(self._stream, own, epoch), self._sizes[start_step:])


def _open_stream(
    beton: Beton, *, batch_size: int, num_workers: int, augment: Augment | None, seed: int
) -> StreamLoader:
    """FFCV's loader with the train preset (``augment``) or the eval preset (None)."""
    from datasets.ffcv_ops import EvalPages, MetadataDecoder, TrainPages
    from datasets.ffcv_stream import StreamLoader

    pin = torch.cuda.is_available()
    image = (
        EvalPages(beton.image_size, pin_memory=pin)
        if augment is None
        else TrainPages(beton.image_size, augment, seed, pin_memory=pin)
    )
    decoders = {"image": image, "labels": MetadataDecoder(pin_memory=pin), "index": MetadataDecoder(pin_memory=pin)}
    return StreamLoader(beton.path, batch_size=batch_size, num_workers=num_workers, decoders=decoders)


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
