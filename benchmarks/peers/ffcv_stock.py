"""FFCV as it comes, in betons of its own writer, set up as its tuning guide says for data that fit into memory.

Either RGB JPEGs by its own decoder and nothing after that, or gray pages as arrays and its own random flip.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from benchmarks.common.data_loader import Files
from benchmarks.common.pictures import JPEG_QUALITY, Pictures
from benchmarks.common.timing import EPOCH_STARTS
from datasets.beton.reader import Beton


def as_page(beton: Beton, index: str) -> Any:
    """A page as (S, S) uint8, as FFCV's writer asks for it."""
    return (beton.page(int(index)),)


def as_rgb(beton: Beton, index: str) -> Any:
    """A page as (S, S, 3) uint8."""
    return (cv2.cvtColor(beton.page(int(index)), cv2.COLOR_GRAY2RGB),)


def batches(pictures: Pictures, *, form: Literal["rgb", "pages"]) -> Iterator[Any]:
    """RGB batches (B, S, S, 3) uint8 as decoded, or gray ones (B, S, S) uint8, flipped."""
    from ffcv.fields import NDArrayField, RGBImageField
    from ffcv.fields.decoders import NDArrayDecoder
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, ToTensor
    from ffcv.writer import DatasetWriter

    path, beton = Path(pictures.folder) / f"ffcv-{form}.beton", Beton.open(Path(pictures.beton))
    if form == "rgb":
        field = RGBImageField(write_mode="jpg", jpeg_quality=JPEG_QUALITY)
        steps = [SimpleRGBImageDecoder(), ToTensor()]
    else:
        field = NDArrayField(np.dtype(np.uint8), (pictures.size, pictures.size))
        steps = [NDArrayDecoder(), RandomHorizontalFlip(pictures.flips), ToTensor()]
    indices = [str(index) for index in range(beton.num_samples)]
    dataset = Files(indices, partial(as_rgb if form == "rgb" else as_page, beton))
    DatasetWriter(str(path), {"image": field}, num_workers=1).from_indexed_dataset(dataset)
    loader = Loader(
        str(path),
        batch_size=pictures.batch_size,
        num_workers=pictures.workers,
        order=OrderOption.RANDOM,
        os_cache=True,
        pipelines={"image": steps},
    )
    while True:
        yield EPOCH_STARTS
        yield from (batch for (batch,) in loader)
