"""Stream batches from a beton file, raw or JPEG, decoded in the background."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from datasets.loading.batch import Batch, Batches, Loader
from datasets.loading.epoch_plan import EpochPlan
from datasets.loading.options import SINGLE_PROCESS, LoaderOptions, ShardOptions
from datasets.loading.threads import gc_paused

if TYPE_CHECKING:
    from datasets.beton.reader import Beton
    from datasets.loading.ffcv.producer import EpochProducer


class StreamedBatches(Batches):
    """The batches of one epoch, read in the background; dropping it closes it, too."""

    def __init__(self, producer: EpochProducer, sizes: list[int], finish: Callable[[Any], torch.Tensor]) -> None:
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
        """End the background thread and drop waiting batches. Harmless when called again."""
        self._finalizer()


class BetonLoader(Loader):
    """Streams chosen samples of a beton from its file, as one of several ranks.

    Pixels, order and global batches are functions of seed and epoch alone, whatever the number of threads or ranks.
    ``options.augment_on`` and ``options.output`` "auto" mean "cpu" and "uint8" here. ``decode_on`` is a device that
    decodes JPEG pages, when the batch is asked for, instead of the loader's threads. ``pin_memory`` None page-locks
    batches where there is CUDA.

    Raises:
        InputError: for indices outside the file, listed twice or none at all, and for a batch smaller than the ranks.
    """

    def __init__(
        self,
        beton: Beton,
        indices: np.ndarray,
        options: LoaderOptions,
        *,
        shard: ShardOptions = SINGLE_PROCESS,
        pin_memory: bool | None = None,
        decode_on: torch.device | None = None,
    ) -> None:
        on_device = options.augment_on == "device"
        plan = EpochPlan.make(indices, beton.num_samples, str(beton.path), options, shard)
        super().__init__(plan, device_augment=options.augment if on_device else None)
        with gc_paused():
            from datasets.loading.ffcv.stream_loader import open_stream

        self.tier = beton.encoding
        self._decode_on, self._image_size = decode_on, beton.image_size
        pin = torch.cuda.is_available() if pin_memory is None else pin_memory
        self._stream = open_stream(beton, plan.share, options, pin_memory=pin, encoded=decode_on is not None)

    def epoch(self, epoch: int, start_step: int = 0) -> StreamedBatches:
        """Return the batches of one epoch from ``start_step`` on, decoded in the background from now on."""
        from datasets.loading.ffcv.producer import EpochProducer

        own = np.concatenate([np.empty(0, np.uint64), *self.plan.batches(epoch, start_step)])
        producer = EpochProducer(self._stream, own, epoch)
        return StreamedBatches(producer, self.plan.sizes[start_step:], self._decoded)

    def _decoded(self, images: Any) -> torch.Tensor:
        """The images of a batch, decoded now where a device does that."""
        if self._decode_on is None:
            pages: torch.Tensor = images
            return pages
        from datasets.loading.device_jpeg import decode_on_device

        return decode_on_device(images, self._image_size, self._decode_on)
