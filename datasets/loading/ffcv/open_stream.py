"""A beton and how its batches shall look come in; FFCV's loader with the fitting decoders goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasets.augment.policy import Augment
from datasets.beton.mapped_file import map_beton
from datasets.beton.reader import Beton
from datasets.loading.ffcv.float_output import FloatOutput, TrainInputs
from datasets.loading.ffcv.imports import Operation
from datasets.loading.ffcv.jpeg_ops import JpegBytes, JpegPages
from datasets.loading.ffcv.ops import BatchDecoder, EvalPages, MetadataDecoder, TrainPages
from datasets.loading.ffcv.reader import StreamLoader

if TYPE_CHECKING:
    from datasets.loading.stream import Output


def open_stream(
    beton: Beton,
    *,
    batch_size: int,
    num_workers: int,
    augment: Augment | None,
    seed: int,
    output: Output,
    pin: bool,
    encoded: bool,
) -> StreamLoader:
    """Loader of ``batch_size`` samples at once with the train preset (``augment``) or the eval preset (None).

    Args:
        beton: the file.
        batch_size: samples of a full batch of this process.
        num_workers: threads that decode.
        augment: what is done to the pixels here; None leaves them as stored.
        seed: decides the augmentation.
        output: uint8 pages, or network input.
        pin: hand out page-locked memory.
        encoded: hand out JPEG pages as they are, for a device to decode.
    """
    image: Operation
    if encoded:
        image = JpegBytes(pin_memory=False)
    elif beton.encoding == "jpeg":
        image = JpegPages(
            beton.path, beton.image_size, augment=augment, seed=seed, num_workers=num_workers, pin_memory=pin
        )
    elif augment is not None and output == "float32":
        image = TrainInputs(beton.image_size, augment, seed, num_workers=num_workers, pin_memory=pin)
    else:
        image = _raw_pages(beton, augment, seed, num_workers, pin)
    if output == "float32" and not isinstance(image, TrainInputs):
        image = FloatOutput(image, num_workers=num_workers, pin_memory=pin)
    decoders = {"image": image, "labels": MetadataDecoder(pin_memory=pin), "index": MetadataDecoder(pin_memory=pin)}
    return StreamLoader(map_beton(beton), batch_size=batch_size, num_workers=num_workers, decoders=decoders)


def _raw_pages(beton: Beton, augment: Augment | None, seed: int, num_workers: int, pin: bool) -> BatchDecoder:
    if augment is None:
        return EvalPages(beton.image_size, num_workers=num_workers, pin_memory=pin)
    return TrainPages(beton.image_size, augment, seed, num_workers=num_workers, pin_memory=pin)
