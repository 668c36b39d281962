"""FFCV as it comes: RGB JPEG in a beton of its own writer, decoded by its own decoder, nothing after that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from benchmarks.common.pictures import JPEG_QUALITY, Pictures
from benchmarks.common.timing import EPOCH_STARTS
from benchmarks.peers.data_loader import Files


def as_rgb(path: str) -> Any:
    """A picture as (S, S, 3) uint8, as FFCV's writer asks for it."""
    return (cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB),)


def batches(pictures: Pictures) -> Iterator[int]:
    """RGB uint8 batches without augmentation."""
    from ffcv.fields import RGBImageField
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor
    from ffcv.writer import DatasetWriter

    path = Path(pictures.folder) / "rgb.beton"
    field = RGBImageField(write_mode="jpg", jpeg_quality=JPEG_QUALITY)
    DatasetWriter(str(path), {"image": field}, num_workers=1).from_indexed_dataset(Files(pictures.jpeg, as_rgb))
    loader = Loader(
        str(path),
        batch_size=pictures.batch_size,
        num_workers=pictures.workers,
        order=OrderOption.RANDOM,
        os_cache=True,
        pipelines={"image": [SimpleRGBImageDecoder(), ToTensor()]},
    )
    while True:
        yield EPOCH_STARTS
        yield from (len(batch) for (batch,) in loader)
